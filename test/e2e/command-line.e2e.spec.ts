/** The command line against a running installation: every noun, for people and for programs. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import { eventually } from '#libs/testing';

import { Tollgate, type Json, type TestModel } from './harness/tollgate.js';

const MODEL: TestModel = {
  id: 'fake-in10-out20',
  inputTokens: 10,
  outputTokens: 20,
  inputUsdPerMillion: '1',
  outputUsdPerMillion: '2',
};

const tollgate = new Tollgate([MODEL]);

beforeAll(() => tollgate.start());
afterAll(() => tollgate.destroy());

async function json(...args: string[]): Promise<Json> {
  const { code, printed } = await tollgate.cli(...args, '--json');
  expect({ args, code, printed }).toMatchObject({ code: 0 });
  return JSON.parse(printed);
}

describe('bin/tollgate', () => {
  test('makes a team, a key and a budget, and shows what a call cost', async () => {
    await json('teams', 'create', 'cli', '--name', 'Command line');
    const made = await json('keys', 'create', 'from-the-cli', '--team', 'cli');
    await json('budgets', 'set', '--team', 'cli', '--limit', '1.50');
    const response = await fetch(`${tollgate.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${made.key}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: MODEL.id, messages: [{ role: 'user', content: 'hi' }] }),
    });
    expect(response.status).toBe(200);
    await tollgate.usageEventually('team_id=cli', (body) => body.total.requests === 1);
    const usage = await json('usage', 'query', '--by', 'team');
    expect(usage.data).toContainEqual(
      expect.objectContaining({ team: 'cli', requests: 1, cost_usd: '0.00005' }),
    );
    // The budget settles what the ledger has.
    await eventually(
      async () => {
        const budgets = await json('budgets', 'list');
        expect(budgets.data).toContainEqual(
          expect.objectContaining({ scope_id: 'cli', limit_usd: '1.5', spent_usd: '0.00005' }),
        );
      },
      { deadlineMs: 60_000 },
    );
  });

  test('shows tables for people', async () => {
    for (const args of [
      ['keys', 'list'],
      ['teams', 'list'],
      ['prices', 'list'],
      ['usage', 'requests'],
    ]) {
      const { code, printed } = await tollgate.cli(...args);
      expect({ args, code, printed }).toMatchObject({ code: 0 });
    }
  });

  test('says what to do next when nothing answers, with exit code 3', async () => {
    const { code, printed } = await tollgate.cliWith(
      { TOLLGATE_URL: 'http://127.0.0.1:1' },
      'keys',
      'list',
    );
    expect(code).toBe(3);
    expect(printed).toContain('npm start');
  });

  test('refuses an unknown command with exit code 2 and shows the help', async () => {
    const { code, printed } = await tollgate.cli('keys', 'explode');
    expect(code).toBe(2);
    expect(printed).toContain('tollgate keys');
  });
});
