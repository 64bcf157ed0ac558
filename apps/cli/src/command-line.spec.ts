import { describe, expect, test } from '@jest/globals';

import { Api, explainRefusal, targetOf, type ApiRequest } from './api.js';
import { runCommandLine } from './command-line.js';
import { COMMANDS } from './commands/index.js';
import { findConnection } from './connection.js';
import { EXIT, Failure } from './failure.js';

/** An API that answers each request with the same text and keeps what it was asked. */
class CannedApi extends Api {
  readonly url = 'http://tollgate.test';
  readonly asked: ApiRequest[] = [];

  constructor(private readonly answer: string) {
    super();
  }

  send(request: ApiRequest): Promise<string> {
    this.asked.push(request);
    return Promise.resolve(this.answer);
  }
}

async function run(args: readonly string[], answer = '{}') {
  const api = new CannedApi(answer);
  let out = '';
  let error = '';
  const code = await runCommandLine(args, {
    connect: () => api,
    isColoured: false,
    writeOut: (text) => void (out += text),
    writeError: (text) => void (error += text),
  });
  return { code, out, error, asked: api.asked };
}

/** Splits an example as a shell does, double quotes only. */
function shellWords(line: string): string[] {
  return [...line.matchAll(/"([^"]*)"|(\S+)/g)].map((match) => match[1] ?? match[2] ?? '');
}

describe('commands', () => {
  test.each(COMMANDS.map((command) => [command.name, command] as const))(
    '%s has an example that makes its request, and a help page that shows it',
    async (name, command) => {
      const [program, ...args] = shellWords(command.example);
      expect(program).toBe('tollgate');
      expect(args.slice(0, 2).join(' ')).toBe(name);
      const prices = '{"simulator:simulator-mini":{"model_name":"simulator-mini"}}';
      const done = await run(args, prices);
      expect(done).toMatchObject({ code: EXIT.done, error: '' });
      expect(done.asked).toHaveLength(1);
      const help = await run([...name.split(' '), '--help']);
      expect(help.code).toBe(EXIT.done);
      expect(help.out).toContain(command.example);
    },
  );

  test('an amount of money reaches the API digit by digit', async () => {
    const budget = '9999999999.000000000001';
    const { asked } = await run(['keys', 'create', 'a', '--budget', budget]);
    expect(asked[0]?.body).toBe(`{"name":"a","max_budget":${budget}}`);
    const set = await run(['budgets', 'set', '--key', 'k', '--limit', budget]);
    expect(set.asked[0]?.body).toContain(`"limit_usd":"${budget}"`);
  });

  test('an id cannot leave its place in a path', async () => {
    const { asked } = await run(['keys', 'show', '../budgets?x=1']);
    expect(asked[0]?.path).toBe('/api/keys/..%2Fbudgets%3Fx%3D1');
  });

  test('--since counts back from now, and not beside --start', async () => {
    const { asked } = await run(['usage', 'query', '--since', '2h']);
    expect(asked[0]?.query?.['start']).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    const both = await run(['usage', 'query', '--since', '2h', '--start', '2026-01-01T00:00:00Z']);
    expect(both.code).toBe(EXIT.usage);
  });
});

describe('usage errors end with code 2 before anything is sent', () => {
  test.each([
    [[]],
    [['nonsense']],
    [['keys']],
    [['keys', 'nonsense']],
    [['keys', 'create']],
    [['keys', 'create', 'a', 'b']],
    [['keys', 'create', 'a', '--nonsense']],
    [['keys', 'create', 'a', '--budget', '1e3']],
    [['keys', 'create', 'a', '--expires-days', '0']],
    [['keys', 'rotate', 'id']],
    [['budgets', 'set', '--limit', '1']],
    [['budgets', 'set', '--key', 'k']],
    [['budgets', 'set', '--key', 'k', '--team', 't', '--limit', '1']],
    [['budgets', 'set', '--key', 'k', '--limit', '1', '--thresholds', '2']],
    [['budgets', 'delete', 'id']],
    [['usage', 'query', '--since', 'yesterday']],
  ])('%j', async (args: string[]) => {
    const { code, out, error, asked } = await run(args);
    expect({ code, out, asked }).toEqual({ code: EXIT.usage, out: '', asked: [] });
    expect(error).toMatch(/^tollgate: /);
  });
});

describe('answers', () => {
  test('--json passes the answer on byte for byte', async () => {
    const answer = '{"data":[{"limit_usd":"0.10","x":1.10}]}';
    expect((await run(['budgets', 'list', '--json'], answer)).out).toBe(`${answer}\n`);
  });

  test('--json is one document also when the answer has no body', async () => {
    const { out } = await run(['budgets', 'delete', 'b1', '--yes', '--json'], '');
    expect(JSON.parse(out)).toEqual({ deleted: 'b1' });
  });

  test('a table is aligned, amounts to the right, absent values as a dash', async () => {
    const answer = JSON.stringify([
      { id: 'a', name: 'short', status: 'active', max_budget: 5, spent: 12.5, total_requests: 3 },
      { id: 'bb', name: 'much longer', team_id: 't', status: 'revoked', total_requests: 100 },
    ]);
    expect((await run(['keys', 'list'], answer)).out.split('\n')).toEqual([
      'ID  NAME         TEAM  STATUS   BUDGET USD  SPENT USD  REQUESTS  LAST USED',
      'a   short        -     active            5       12.5         3  -',
      'bb  much longer  t     revoked           -          -       100  -',
      '',
    ]);
  });

  test('an empty list says what to do next', async () => {
    expect((await run(['keys', 'list'], '[]')).out).toContain('tollgate keys create');
  });

  test('usage shows what it is grouped by, its total, and how far it is complete', async () => {
    const row = { bucket_start: null, requests: 2, tokens_in: 1, tokens_out: 1, cost_usd: '0.1' };
    const answer = JSON.stringify({
      data: [
        { ...row, model: 'm1' },
        { ...row, model: 'm2' },
      ],
      total: { ...row, requests: 4 },
      complete_through: '2026-11-20T10:00:00.000Z',
    });
    const { out } = await run(['usage', 'query', '--by', 'model'], answer);
    expect(out).toMatch(/^MODEL +REQUESTS/);
    expect(out).not.toContain('BUCKET');
    expect(out).toContain('total\n');
    expect(out).toContain('complete through 2026-11-20T10:00:00.000Z');
  });

  test('a dead letter is shown as text and as hex, and its text cannot steer the terminal', async () => {
    const answer = JSON.stringify({
      id: 'metering/request.completed/0/17',
      hold: 'unknown',
      payload_text: '{\u001b[2J\ufffd',
      payload_hex: '7b1b5b324aff',
    });
    const id = 'metering/request.completed/0/17';
    const { out, asked } = await run(['dead-letters', 'show', id], answer);
    expect(asked[0]).toMatchObject({ path: `/api/dead-letters/${id}` });
    expect(out).toContain('{\\x1b[2J');
    expect(out).not.toContain('\u001b[2J');
    expect(out).toContain('7b1b5b324aff');
    expect(await run(['dead-letters', 'retry', '17'])).toMatchObject({ code: EXIT.usage });
  });

  test('a list of dead letters says whose are not in it', async () => {
    const letter = { id: 'auth/control/0/5', service: 'auth', class: 'malformed', state: 'parked' };
    const answer = { data: [letter], next_cursor: null, unreachable: ['budget-enforcer'] };
    const { out, asked } = await run(
      ['dead-letters', 'list', '--service', 'auth'],
      JSON.stringify(answer),
    );
    expect(asked[0]).toMatchObject({ path: '/api/dead-letters', query: { service: 'auth' } });
    expect(out).toContain('auth     auth/control/0/5');
    expect(out).toContain('did not answer: budget-enforcer');
  });

  test('a retry that waits for its service says so', async () => {
    const id = 'budget-enforcer/control/0/5';
    const { out } = await run(
      ['dead-letters', 'retry', id],
      JSON.stringify({ id, state: 'accepted' }),
    );
    expect(out).toContain(`tollgate dead-letters show ${id}`);
  });

  test('a model without a price is a refusal', async () => {
    const { code, error } = await run(['prices', 'show', 'openai:none']);
    expect(code).toBe(EXIT.refused);
    expect(error).toContain('tollgate prices list');
  });

  test('an answer that is not JSON is a refusal that names TOLLGATE_URL', async () => {
    const { code, error } = await run(['keys', 'list'], '<html>');
    expect(code).toBe(EXIT.refused);
    expect(error).toContain('TOLLGATE_URL');
  });
});

describe('refusals of the server', () => {
  test.each([
    ['{"detail":"Key not found"}', 'Key not found'],
    ['{"detail":[{"loc":["body","period"],"msg":"only total"}]}', 'period: only total'],
    ['{"error":"team a already exists"}', 'team a already exists'],
    ['{"error":{"message":"Invalid key"}}', 'Invalid key'],
    ['{"title":"Bad range","status":400}', 'Bad range'],
    ['not json', 'refused with status 400'],
  ])('%s is told in words', (body, message) => {
    expect(explainRefusal(400, body)).toBe(message);
  });

  test('a refused credential says where the credential comes from', () => {
    expect(explainRefusal(401, '{"detail":"Not authenticated"}')).toContain('ADMIN_API_KEY');
  });
});

describe('connection', () => {
  const files: Record<string, string> = {
    'standalone.json': '{"url":"http://127.0.0.1:9999/"}',
    'secrets.json': '{"ADMIN_API_KEY":"from-file"}',
  };
  const read = (name: string): string | null => files[name] ?? null;

  test('the environment comes before the data folder', () => {
    const environment = { TOLLGATE_URL: 'https://t.test/', ADMIN_API_KEY: 'from-env' };
    expect(findConnection(environment, read)).toEqual({
      url: 'https://t.test',
      secret: 'from-env',
    });
    expect(findConnection({}, read)).toEqual({ url: 'http://127.0.0.1:9999', secret: 'from-file' });
  });

  test('without a credential the command is unreachable, a wrong address is a usage error', () => {
    const codeOf = (environment: Record<string, string>): number => {
      try {
        findConnection(environment, () => null);
      } catch (error) {
        return (error as Failure).exitCode;
      }
      return 0;
    };
    expect(codeOf({})).toBe(EXIT.unreachable);
    expect(codeOf({ TOLLGATE_URL: 'ftp://x', ADMIN_API_KEY: 'a' })).toBe(EXIT.usage);
  });

  test('a query leaves out what was not given and repeats lists', () => {
    const request = {
      method: 'GET',
      path: '/x',
      query: { a: undefined, b: ['1', '2 3'] },
    } as const;
    expect(targetOf(request)).toBe('/x?b=1&b=2+3');
  });
});
