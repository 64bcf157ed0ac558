/** Bad input on the data plane: the OpenAI envelope, the right status, and nothing else recorded. */
import { connect } from 'node:net';

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
const TEN_MEBIBYTES = 10 * 1024 * 1024;

const tollgate = new Tollgate([MODEL], {}, [{ id: 'unpriced' }]);
let key: string;

beforeAll(async () => {
  await tollgate.start();
  ({ key } = await tollgate.createKey());
});
afterAll(() => tollgate.destroy());

async function post(
  body: string,
  headers: Record<string, string> = {},
): Promise<{ status: number; headers: Headers; body: Json }> {
  const response = await fetch(`${tollgate.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', ...headers },
    body,
  });
  return { status: response.status, headers: response.headers, body: await response.json() };
}

const chat = (members: string): string =>
  `{"model":"${MODEL.id}","messages":[{"role":"user","content":"hi"}]${members}}`;

describe('bad input on /v1/chat/completions', () => {
  test.each([
    ['malformed JSON', '{"model":', 400, 'invalid_request_error', null],
    ['a repeated name', chat(',"max_tokens":1,"max_tokens":2'), 400, 'invalid_request_error', null],
    ['a reserved name', chat(',"x":{"__proto__":1}'), 400, 'invalid_request_error', null],
    ['a wrong type', chat(',"stream":"yes"'), 400, 'invalid_request_error', 'stream'],
    ['no model', '{"messages":[]}', 400, 'invalid_request_error', 'model'],
    ['no messages', `{"model":"${MODEL.id}"}`, 400, 'invalid_request_error', 'messages'],
    ['another base URL', chat(',"api_base":"http://x"'), 400, 'invalid_request_error', 'api_base'],
    ['an unknown model', '{"model":"nope","messages":[]}', 404, 'invalid_request_error', 'model'],
    [
      'a model without price',
      '{"model":"unpriced","messages":[]}',
      400,
      'invalid_request_error',
      'model',
    ],
  ])('%s is refused in the openai envelope', async (_what, body, status, type, param) => {
    const before = tollgate.attempts();
    const answer = await post(body);
    expect(answer.status).toBe(status);
    expect(answer.body.error).toMatchObject({ message: expect.any(String), type });
    expect(Object.keys(answer.body.error).sort()).toEqual(['code', 'message', 'param', 'type']);
    if (param !== null) expect(answer.body.error.param).toBe(param);
    expect(answer.headers.get('x-request-id')).toMatch(/^req-[0-9a-f]{32}$/);
    expect(tollgate.attempts()).toBe(before);
  });

  test('a body above 10 MiB answers 413 request_too_large', async () => {
    const answer = await post(chat(`,"x":"${'a'.repeat(TEN_MEBIBYTES)}"`));
    expect(answer.status).toBe(413);
    expect(answer.body.error.code).toBe('request_too_large');
  });

  test('a missing credential answers 401 with a challenge, and a key in the query does not help', async () => {
    const response = await fetch(`${tollgate.url}/v1/chat/completions?api_key=${key}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: chat(''),
    });
    expect(response.status).toBe(401);
    expect(response.headers.get('www-authenticate')).toBe('Bearer');
    expect(((await response.json()) as Json).error.code).toBe('invalid_api_key');
  });

  test('a body that is cut off in the middle reaches no provider and writes no attempt', async () => {
    const before = tollgate.attempts();
    const { port } = new URL(tollgate.url);
    await new Promise<void>((resolve, reject) => {
      const socket = connect(Number(port), '127.0.0.1', () => {
        socket.write(
          `POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${key}\r\n` +
            'Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{"model":',
          () => socket.destroy(),
        );
      });
      socket.on('close', () => resolve());
      socket.on('error', reject);
    });
    expect((await post(chat(''))).status).toBe(200);
    expect(tollgate.attempts()).toBe(before + 1);
  });

  test('refusals of a known key cost nothing and leave one request.rejected each', async () => {
    const fresh = await tollgate.createKey({ allowed_models: ['something-else'] });
    const answer = await post(chat(''), { authorization: `Bearer ${fresh.key}` });
    expect(answer.status).toBe(403);
    expect(answer.body.error.code).toBe('model_not_allowed');
    const reasons = await eventually(async () => {
      const found = await tollgate.rejectionsOf(fresh.id);
      return found.length > 0 ? found : false;
    });
    expect(reasons).toEqual(['model']);
    const { body } = await tollgate.admin('GET', `/v1/usage?key_id=${fresh.id}`);
    expect(body.total).toMatchObject({ requests: 0, cost_usd: '0' });
  });
});

describe('bad input on administrative routes', () => {
  test.each([
    ['POST', '/api/keys', { name: '' }, 422],
    ['POST', '/api/keys', { name: 'a', max_budget: -1 }, 422],
    ['POST', '/teams', { team_id: 'Bad_ID', team_name: 'x' }, 400],
    ['PUT', '/api/budgets', { scope: 'key', limit_usd: 5 }, 422],
    ['GET', '/v1/usage?group_by=colour', undefined, 400],
    ['GET', '/v1/usage?nonsense=1', undefined, 400],
    ['GET', '/api/keys/00000000-0000-4000-8000-000000000000', undefined, 404],
  ])('%s %s with a fault answers %#', async (method, path, body, status) => {
    expect((await tollgate.admin(method, path, body)).status).toBe(status);
  });

  test('without the operator credential administration stays closed', async () => {
    for (const path of ['/teams', '/v1/usage', '/api/budgets']) {
      expect((await fetch(`${tollgate.url}${path}`)).status).toBe(401);
    }
  });
});
