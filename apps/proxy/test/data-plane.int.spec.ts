// The whole proxy on a real spool, a real event log and a real HTTP upstream; auth and budgets by hand.
import { connect } from 'node:net';

import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';

import { EVENT_KIND, eventIdOf, TOPICS, type RequestCompletedV1 } from '#libs/events';
import { picoUsd, type RequestId } from '#libs/kernel';
import { eventually } from '#libs/testing';

import { ADMIN_KEY, KEYS, ProxyFixture, sendJson, sendUsage } from './proxy-fixture.js';

let proxy: ProxyFixture;

beforeAll(async () => {
  proxy = await ProxyFixture.start();
});
afterAll(() => proxy.stop());
beforeEach(() => {
  proxy.upstream.seen.length = 0;
  proxy.upstream.answer = (res) => sendUsage(res, 10, 5);
  proxy.budget.limitPicoUsd = 10n ** 18n;
  proxy.budget.failure = null;
  proxy.budget.held.clear();
  proxy.budget.calls.length = 0;
  proxy.budget.released.length = 0;
});

function uuidOf(wireId: string | null): string {
  return wireId!.slice(4).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

async function recordOf(wireId: string | null): Promise<RequestCompletedV1> {
  return eventually(async () => {
    const events = await proxy.logged(TOPICS.requestCompleted);
    const found = events.filter(({ data }) => data.request_id === uuidOf(wireId));
    expect(found).toHaveLength(1);
    return found[0]!.data;
  });
}

async function lastRecord(): Promise<RequestCompletedV1> {
  return recordOf(
    (proxy.upstream.seen.at(-1)!.headers['x-client-request-id'] as string).slice(0, 36),
  );
}

async function rejectionOf(wireId: string | null): Promise<{ reason: string; code: string }> {
  return eventually(async () => {
    const events = await proxy.logged(TOPICS.requestRejected);
    return events.find(({ data }) => data.request_id === uuidOf(wireId))?.data ?? false;
  });
}

async function errorOf(response: Response) {
  const body = (await response.json()) as { error: Record<string, unknown>; detail: string };
  expect(body.detail).toBe(body.error['message']);
  expect(response.headers.get('x-request-id')).toMatch(/^req-[0-9a-f]{32}$/);
  return { status: response.status, ...body.error };
}

describe('a plain answer', () => {
  test('comes byte for byte with its cost, and its record is durable with the same figures', async () => {
    const response = await proxy.chat('sk-plain-key', {}, { 'x-stainless-retry-count': '2' });
    const text = await response.text();
    expect(response.status).toBe(200);
    expect(text).toContain('"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}');
    expect(response.headers.get('x-provider')).toBe('sim');
    expect(response.headers.get('x-cost-usd')).toBe('0.02');
    const record = await recordOf(response.headers.get('x-request-id'));
    expect(record.event_id.replaceAll('-', '')).toBe(response.headers.get('x-event-id'));
    expect(record).toMatchObject({
      attempt: 1,
      final: true,
      org_id: 'default',
      key_id: KEYS['sk-plain-key']!.keyId,
      user_id: 'bob',
      provider: 'sim',
      model_requested: 'sized',
      model: 'sized',
      model_served: 'served-1',
      stream: false,
      status: 'ok',
      http_status: 200,
      provenance: 'measured',
      usage_source: 'provider_final',
      raw_usage: '{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}',
      usage: { input_text: 10, output_text: 5 },
      price_state: 'priced',
      cost_pusd: '20000000000',
      charge_pusd: '20000000000',
      hold_pusd: '200000000000',
      hold: null,
      flags: [],
      finish_reason: 'stop',
      client_retry_count: 2,
      upstream_request_id: 'up-1',
      source: 'proxy',
    });
  });

  test('the upstream sees our headers, the attempt id and no client credential', async () => {
    const response = await proxy.chat(
      'sk-plain-key',
      { model: 'sized-alias', x: 1.0 },
      { 'x-evil': 'y' },
    );
    expect(response.status).toBe(200);
    const { headers, body } = proxy.upstream.seen[0]!;
    expect(headers.authorization).toBe('Bearer sim-secret');
    expect(headers['x-client-request-id']).toBe(`${response.headers.get('x-request-id')}.1`);
    expect(headers['x-evil']).toBeUndefined();
    expect(body['model']).toBe('up-sized');
    expect(proxy.budget.calls).toHaveLength(0);
  });

  test('a client that asks for more than the model gives is told less upstream', async () => {
    await proxy.chat('sk-plain-key', { max_completion_tokens: 999 });
    expect(proxy.upstream.seen[0]!.body['max_completion_tokens']).toBe(50);
    await proxy.chat('sk-plain-key', { max_tokens: 7 });
    expect(proxy.upstream.seen[1]!.body['max_tokens']).toBe(7);
  });

  test('a key is looked up once, however many requests use it', async () => {
    const before = proxy.lookups;
    await Promise.all(Array.from({ length: 5 }, () => proxy.chat('sk-budgeted-key', {})));
    await proxy.chat('sk-budgeted-key', {});
    expect(proxy.lookups - before).toBeLessThanOrEqual(1);
  });
});

describe('budgets', () => {
  test('a budgeted key takes a hold before the upstream is called, and names it in its record', async () => {
    const response = await proxy.chat('sk-budgeted-key', {});
    const record = await recordOf(response.headers.get('x-request-id'));
    expect(proxy.budget.calls.flat()).toEqual([
      {
        holdId: `${record.request_id}.1`,
        expectedBudgetIds: ['00000000-0000-4000-8000-00000000000b'],
        subjects: [
          { scope: 'key', subjectId: record.key_id },
          { scope: 'team', subjectId: 'red' },
          { scope: 'user', subjectId: 'bob' },
          { scope: 'organisation', subjectId: 'default' },
        ],
        wantPicoUsd: 200_000_000_000n,
        leastPicoUsd: 132_000_000_000n,
      },
    ]);
    expect(record.hold).toEqual({
      hold_id: `${record.request_id}.1`,
      budgets: [{ budget_id: '00000000-0000-4000-8000-00000000000b', epoch: 1 }],
    });
    expect(proxy.upstream.seen[0]!.body['max_tokens']).toBe(50);
  });

  test('the output limit sent upstream is what the hold pays for', async () => {
    proxy.budget.limitPicoUsd = 150_000_000_000n;
    const response = await proxy.chat('sk-budgeted-key', {});
    expect(response.status).toBe(200);
    expect(proxy.upstream.seen[0]!.body['max_tokens']).toBe(25);
    const record = await recordOf(response.headers.get('x-request-id'));
    expect(record.hold_pusd).toBe('150000000000');
  });

  test('too little left is 401 budget_exceeded and nothing goes upstream', async () => {
    proxy.budget.limitPicoUsd = 131_999_999_999n;
    const response = await proxy.chat('sk-budgeted-key', {});
    expect(await errorOf(response)).toMatchObject({
      status: 401,
      type: 'insufficient_quota',
      code: 'budget_exceeded',
    });
    expect(response.headers.get('x-should-retry')).toBe('false');
    expect(response.headers.get('x-budget-scope')).toBe('team');
    expect(response.headers.get('x-budget-period')).toBe('total');
    expect(proxy.upstream.seen).toHaveLength(0);
    const rejection = await rejectionOf(response.headers.get('x-request-id'));
    expect(rejection).toMatchObject({ reason: 'budget', code: 'budget_exceeded' });
  });

  test('money held by others is 429 budget_reserved with a time to retry', async () => {
    proxy.budget.limitPicoUsd = 200_000_000_000n;
    proxy.budget.held.set('other.1', 190_000_000_000n);
    const response = await proxy.chat('sk-budgeted-key', {});
    expect(await errorOf(response)).toMatchObject({
      status: 429,
      type: 'rate_limit_exceeded',
      code: 'budget_reserved',
    });
    expect(response.headers.get('retry-after')).toBe('2');
    expect(response.headers.get('x-should-retry')).toBeNull();
  });

  test('an authority without an answer closes, and what it may have held is given back', async () => {
    proxy.budget.failure = new Error('down');
    const response = await proxy.chat('sk-budgeted-key', {});
    expect(await errorOf(response)).toMatchObject({ status: 503, code: 'budget_unavailable' });
    expect(response.headers.get('x-should-retry')).toBe('false');
    const { holdId } = proxy.budget.calls[0]![0]!;
    proxy.budget.held.set(holdId, 1n);
    proxy.budget.failure = null;
    await eventually(() => proxy.budget.released.includes(holdId));
    expect(proxy.upstream.seen).toHaveLength(0);
  });

  test('an exhausted budget refuses at once when the log says so, and admits when it is reinstated', async () => {
    const state = {
      budget_id: '00000000-0000-4000-8000-00000000000c',
      scope: 'team',
      subject_id: 'red',
      epoch: 1,
      period: 'total',
      resets_at: null,
      limit_pusd: '1',
      settled_pusd: '1',
    };
    await proxy.tell('budget.exceeded.v1', { ...state, budget_rev: 4, exhausted: true });
    await eventually(async () => (await proxy.chat('sk-budgeted-key', {})).status === 401);
    const refused = await proxy.chat('sk-budgeted-key', {});
    expect(await rejectionOf(refused.headers.get('x-request-id'))).toMatchObject({
      reason: 'revoked',
    });
    // An older message that arrives late changes nothing.
    await proxy.tell('budget.reinstated.v1', { ...state, budget_rev: 3, exhausted: false });
    await proxy.tell('budget.reinstated.v1', { ...state, budget_rev: 5, exhausted: false });
    await eventually(async () => (await proxy.chat('sk-budgeted-key', {})).status === 200);
  });
});

describe('a stream', () => {
  const delta = (text: string) =>
    `data: {"id":"c","model":"served-1","choices":[{"index":0,"delta":{"content":"${text}"},"finish_reason":null}],"usage":null}\n\n`;
  const usage =
    'data: {"id":"c","model":"served-1","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12}}\n\n';

  function streamOf(...events: readonly string[]): void {
    proxy.upstream.answer = (res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
      for (const event of events) res.write(event);
      res.end();
    };
  }

  test('asks for usage, hides it from a client that did not ask, and is measured', async () => {
    streamOf(delta('a'), delta('b'), usage, 'data: [DONE]\n\n');
    const response = await proxy.chat('sk-plain-key', { stream: true });
    expect(response.headers.get('content-type')).toBe('text/event-stream');
    expect(await response.text()).toBe(`${delta('a')}${delta('b')}data: [DONE]\n\n`);
    expect(proxy.upstream.seen[0]!.body['stream_options']).toEqual({ include_usage: true });
    const record = await recordOf(response.headers.get('x-request-id'));
    expect(record).toMatchObject({
      status: 'ok',
      stream: true,
      provenance: 'measured',
      usage: { input_text: 10, output_text: 2 },
      cost_pusd: '14000000000',
      model_served: 'served-1',
    });
    expect(record.ttft_ms).not.toBeNull();
  });

  test('shows the usage chunk to a client that asked', async () => {
    streamOf(delta('a'), usage, 'data: [DONE]\n\n');
    const asked = { stream: true, stream_options: { include_usage: true } };
    const response = await proxy.chat('sk-plain-key', asked);
    expect(await response.text()).toBe(`${delta('a')}${usage}data: [DONE]\n\n`);
  });

  test('without usage it is charged by estimate, labelled, and never above its hold', async () => {
    streamOf(delta('abcdefgh'), 'data: [DONE]\n\n');
    const response = await proxy.chat('sk-plain-key', { stream: true });
    await response.text();
    expect(await recordOf(response.headers.get('x-request-id'))).toMatchObject({
      status: 'ok',
      provenance: 'estimated_partial',
      usage_source: 'estimated_tokenizer',
      usage: { input_text: 100, output_text: 2 },
      cost_pusd: '104000000000',
      flags: ['usage_missing', 'estimator_chars4'],
    });
  });

  test('cut by the upstream it ends with an error event and a labelled row', async () => {
    proxy.upstream.answer = (res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      res.write(delta('abcd'), () => res.socket?.destroy());
    };
    const response = await proxy.chat('sk-plain-key', { stream: true });
    const text = await response.text();
    expect(text.startsWith(delta('abcd'))).toBe(true);
    expect(text).toContain('data: {"error":{"message":"LLM provider error:');
    expect(await recordOf(response.headers.get('x-request-id'))).toMatchObject({
      status: 'partial',
      provenance: 'estimated_partial',
    });
  });

  test('is read to its end when the client leaves, and is measured', async () => {
    let finish: () => void = () => undefined;
    proxy.upstream.answer = (res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      res.write(delta('a'));
      finish = () => res.end(`${usage}data: [DONE]\n\n`);
    };
    const leaving = new AbortController();
    const response = await proxy.chat('sk-plain-key', { stream: true }, {}, leaving.signal);
    const reader = response.body!.getReader();
    await reader.read();
    leaving.abort();
    await expect(reader.read()).rejects.toThrow('abort');
    await eventually(async () => {
      const metrics = await (await fetch(`${proxy.url}/metrics`)).text();
      return metrics.includes('proxy_drains_open 1');
    });
    finish();
    expect(await recordOf(response.headers.get('x-request-id'))).toMatchObject({
      status: 'aborted',
      provenance: 'measured',
      usage: { input_text: 10, output_text: 2 },
    });
  });
});

describe('an upstream that fails', () => {
  test.each([
    [500, 503, 'upstream_error', 'provider_error'],
    [401, 503, 'upstream_error', 'provider_error'],
    [429, 503, 'upstream_error', 'provider_error'],
    [404, 404, 'no_such', 'refused'],
    [400, 400, 'no_such', 'refused'],
  ])('%i is %i for the client and a measured zero', async (upstream, status, code, recorded) => {
    const error = { message: 'says the provider', type: 'x', code: 'no_such', param: 'p' };
    proxy.upstream.answer = (res) => sendJson(res, upstream, { error });
    const response = await proxy.chat('sk-plain-key', {});
    expect(await errorOf(response)).toMatchObject({ status, code });
    expect(await recordOf(response.headers.get('x-request-id'))).toMatchObject({
      status: recorded,
      http_status: upstream,
      provenance: 'measured',
      usage_source: 'none',
      usage: {},
      cost_pusd: '0',
    });
  });

  test('a provider text that could hold a credential is not passed on', async () => {
    const message = 'Incorrect API key provided: sk-abc';
    proxy.upstream.answer = (res) => sendJson(res, 400, { error: { message } });
    const error = await errorOf(await proxy.chat('sk-plain-key', {}));
    expect(JSON.stringify(error)).not.toContain('sk-abc');
  });

  test('unreachable, nothing was sent and nothing is charged', async () => {
    const response = await proxy.chat('sk-budgeted-key', { model: 'unreachable' });
    // The model has no price at that provider, so it is refused before it could fail.
    expect(await errorOf(response)).toMatchObject({ status: 400, code: 'price_unknown' });
  });

  test('a cut before the answer is charged at the hold', async () => {
    proxy.upstream.answer = (res) => res.socket?.destroy();
    const response = await proxy.chat('sk-budgeted-key', {});
    expect(await errorOf(response)).toMatchObject({ status: 503, code: 'upstream_error' });
    expect(await lastRecord()).toMatchObject({
      status: 'unknown',
      provenance: 'estimated_hold',
      usage: { input_text: 100, output_text: 50 },
      cost_pusd: '200000000000',
      hold_pusd: '200000000000',
    });
  });

  test('usage far above the limit it was given is not believed', async () => {
    proxy.upstream.answer = (res) => sendUsage(res, 10, 5_000);
    const response = await proxy.chat('sk-budgeted-key', {});
    expect(response.headers.get('x-cost-usd')).toBe('0.2');
    expect(await recordOf(response.headers.get('x-request-id'))).toMatchObject({
      provenance: 'estimated_hold',
      flags: ['usage_quarantined'],
      raw_usage: '{"prompt_tokens":10,"completion_tokens":5000,"total_tokens":5010}',
    });
  });

  test('usage above the hold is charged in full and flagged', async () => {
    proxy.upstream.answer = (res) => sendUsage(res, 150, 50);
    const response = await proxy.chat('sk-budgeted-key', {});
    expect(await recordOf(response.headers.get('x-request-id'))).toMatchObject({
      provenance: 'measured',
      cost_pusd: '250000000000',
      flags: ['overrun'],
    });
  });

  test('an explicit zero stays zero', async () => {
    proxy.upstream.answer = (res) => sendUsage(res, 0, 0);
    const response = await proxy.chat('sk-plain-key', {});
    expect(await recordOf(response.headers.get('x-request-id'))).toMatchObject({
      provenance: 'measured',
      cost_pusd: '0',
    });
  });

  test('a model without a price is served at its ceiling only, labelled', async () => {
    const refused = await proxy.chat('sk-plain-key', { model: 'priceless' });
    expect(await errorOf(refused)).toMatchObject({ status: 400, code: 'price_unknown' });
    expect(refused.headers.get('x-should-retry')).toBe('false');
    const response = await proxy.chat('sk-plain-key', { model: 'ceiling' });
    expect(response.headers.get('x-cost-usd')).toBe('0.5');
    expect(await recordOf(response.headers.get('x-request-id'))).toMatchObject({
      price_state: 'ceiling',
      provenance: 'estimated_hold',
      cost_pusd: '500000000000',
    });
  });
});

describe('refusals', () => {
  test.each([
    ['sk-unknown-key', 'invalid_api_key', null],
    ['short', 'invalid_api_key', null],
    ['sk-deleted-key', 'invalid_api_key', 'auth'],
    ['sk-disabled-key', 'key_inactive', 'disabled'],
    ['sk-expired-key', 'key_expired', 'expired'],
    [ADMIN_KEY, 'invalid_api_key', null],
  ])('key %s: 401 %s, event %s', async (key, code, reason) => {
    const response = await proxy.chat(key, {});
    expect(await errorOf(response)).toMatchObject({
      status: 401,
      type: 'authentication_error',
      code,
    });
    expect(response.headers.get('www-authenticate')).toBe('Bearer');
    if (reason !== null) {
      expect(await rejectionOf(response.headers.get('x-request-id'))).toMatchObject({
        reason,
        code,
      });
    }
    expect(proxy.upstream.seen).toHaveLength(0);
  });

  test('a key whose budget is spent: 401 with the budget named', async () => {
    const response = await proxy.chat('sk-spent-key', {});
    expect(await errorOf(response)).toMatchObject({ status: 401, code: 'budget_exceeded' });
    expect(response.headers.get('x-budget-scope')).toBe('team');
  });

  test.each([
    [{ authorization: 'APIKEY sk-plain-key' }, 200],
    [{ authorization: 'bearer sk-plain-key' }, 200],
    [{ 'x-api-key': 'sk-plain-key' }, 200],
    [{ 'api-key': 'sk-plain-key' }, 200],
    [{ authorization: 'Basic sk-plain-key', 'x-api-key': 'sk-plain-key' }, 401],
    [{ authorization: 'Bearer sk-unknown', 'x-api-key': 'sk-plain-key' }, 401],
    [{}, 401],
  ])('credential %j: %i', async (headers, status) => {
    expect((await proxy.chat(null, {}, headers as Record<string, string>)).status).toBe(status);
  });

  test('a key in the query is refused even beside a good one', async () => {
    const response = await fetch(`${proxy.url}/v1/chat/completions?api_key=x`, {
      method: 'POST',
      headers: { authorization: 'Bearer sk-plain-key', 'content-type': 'application/json' },
      body: '{}',
    });
    expect(response.status).toBe(401);
  });

  test.each([
    [{ model: 'no-such' }, 404, 'model_not_found', 'model', 'model_unknown'],
    [{ model: 'unlimited' }, 400, 'unestimable', null, 'unestimable'],
    [{ web_search_options: {} }, 400, 'unestimable', null, 'unestimable'],
    [{ model: 'no-credential' }, 503, 'provider_not_configured', null, 'unavailable'],
    [{ max_tokens: 'many' }, 400, null, 'max_tokens', 'invalid'],
    ['{"model":"sized","messages":[]', 400, null, null, 'invalid'],
    ['{"model":"sized","model":"x","messages":[]}', 400, null, 'model', 'invalid'],
    ['', 400, null, null, 'invalid'],
  ])('%j: %i %s', async (body, status, code, param, reason) => {
    const response = await proxy.chat('sk-plain-key', body);
    expect(await errorOf(response)).toMatchObject({ status, code, param });
    expect(await rejectionOf(response.headers.get('x-request-id'))).toMatchObject({ reason });
    expect(proxy.upstream.seen).toHaveLength(0);
  });

  test('a model the key may not use is 403, whether or not it exists', async () => {
    for (const model of ['sized', 'no-such']) {
      const response = await proxy.chat('sk-narrow-key', { model });
      expect(await errorOf(response)).toMatchObject({ status: 403, code: 'model_not_allowed' });
    }
  });

  test('a body that is no JSON by its type is 400', async () => {
    const response = await proxy.chat('sk-plain-key', {}, { 'content-type': 'text/plain' });
    expect(await errorOf(response)).toMatchObject({ status: 400, param: 'content-type' });
  });

  test('a body above 10 MiB is 413', async () => {
    const response = await proxy.chat('sk-plain-key', { x: 'y'.repeat(10 * 1024 * 1024) });
    expect(await errorOf(response)).toMatchObject({ status: 413, code: 'request_too_large' });
    expect(await rejectionOf(response.headers.get('x-request-id'))).toMatchObject({
      reason: 'too_large',
    });
  });

  test('a body cut off in the middle is written down and goes nowhere', async () => {
    const { port, hostname } = new URL(proxy.url);
    const socket = connect(Number(port), hostname, () => {
      socket.end(
        'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-narrow-key\r\n' +
          'content-type: application/json\r\ncontent-length: 100\r\n\r\n{"model":',
      );
    });
    socket.on('error', () => undefined).resume();
    // No other request with this key is invalid.
    const { keyId } = KEYS['sk-narrow-key']!;
    const { data } = await eventually(async () => {
      const events = await proxy.logged(TOPICS.requestRejected);
      const ofKey = events.filter((event) => event.data.key_id === keyId);
      return ofKey.find((event) => event.data.reason === 'invalid') ?? false;
    });
    expect(data).toMatchObject({ model_requested: null });
    expect(proxy.upstream.seen).toHaveLength(0);
  });

  test('another method is 405 and an unknown path 404, in the same envelope', async () => {
    const method = await fetch(`${proxy.url}/v1/chat/completions`);
    expect(await errorOf(method)).toMatchObject({ status: 405 });
    expect(await errorOf(await fetch(`${proxy.url}/v1/no-such`))).toMatchObject({ status: 404 });
  });
});

describe('GET /v1/models', () => {
  const list = (headers: Record<string, string>) => fetch(`${proxy.url}/v1/models`, { headers });

  test('lists everything for the operator, with where to reach it (teams/17)', async () => {
    const response = await list({ authorization: `ADMIN ${ADMIN_KEY}` });
    const body = (await response.json()) as { object: string; data: { id: string }[] };
    expect(body.object).toBe('list');
    const ids = body.data.map(({ id }) => id);
    expect(ids).toEqual(ids.toSorted());
    expect(body.data).toContainEqual({
      id: 'sized',
      created: 1_700_000_000,
      object: 'model',
      owned_by: 'sim',
      url: 'http://public.example',
    });
  });

  test('lists for a key only what it may use (teams/16)', async () => {
    const narrow = await list({ authorization: 'APIKEY sk-narrow-key' });
    expect(await narrow.json()).toEqual({ object: 'list', data: [] });
    expect((await list({ 'x-api-key': 'sk-spent-key' })).status).toBe(200);
    expect((await list({})).status).toBe(401);
    expect((await list({ authorization: 'Bearer sk-disabled-key' })).status).toBe(401);
  });
});

test('a changed key is asked for anew', async () => {
  expect((await proxy.chat('sk-plain-key', {})).status).toBe(200);
  const [digest] = [...proxy.keys].find(([, record]) => record === KEYS['sk-plain-key'])!;
  const record = KEYS['sk-plain-key']!;
  proxy.keys.set(digest, { ...record, enabled: false, rev: 2 });
  await proxy.tell('key.disabled.v1', { key_id: record.keyId, enabled: false, rev: 2 });
  await eventually(async () => (await proxy.chat('sk-plain-key', {})).status === 401);
  proxy.keys.set(digest, { ...record, rev: 3 });
  await proxy.tell('key.enabled.v1', { key_id: record.keyId, enabled: true, rev: 3 });
  await eventually(async () => (await proxy.chat('sk-plain-key', {})).status === 200);
});

test('metrics count attempts and refusals without naming a key', async () => {
  await (await proxy.chat('sk-plain-key', {})).text();
  const text = await (await fetch(`${proxy.url}/metrics`)).text();
  expect(text).toMatch(
    /llm_requests_total\{provider="sim",model="sized",status="ok",stream="false"\} \d+/,
  );
  expect(text).toMatch(/request_rejected_total\{reason="invalid"\} \d+/);
  expect(text).toMatch(/proxy_overhead_seconds_bucket\{le="0.0001",phase="admit"\} \d+/);
  expect(text).not.toContain(KEYS['sk-plain-key']!.keyId);
});

test('a restart ends what was open and gives back holds for which nothing was sent', async () => {
  await proxy.chat('sk-budgeted-key', {});
  const template = await lastRecord();
  await proxy.stopProxy();
  proxy.budget.held.clear();
  const [silent, speaking, orphan] = ['1', '2', '3'].map(
    (digit) => `01900000-0000-7000-8000-00000000000${digit}` as RequestId,
  );
  for (const requestId of [silent!, speaking!, orphan!]) {
    proxy.budget.held.set(`${requestId}.1`, 200_000_000_000n);
  }
  await proxy.withSpool(async (spool) => {
    for (const requestId of [silent!, speaking!]) {
      const intent: RequestCompletedV1 = {
        ...template,
        event_id: eventIdOf(requestId, 1, EVENT_KIND.completed),
        request_id: requestId,
        status: 'unknown',
        provenance: 'estimated_hold',
        usage_source: 'none',
        usage: { input_text: 100, output_text: 50 },
        cost_pusd: '200000000000',
        charge_pusd: '200000000000',
        source: 'recovery',
      };
      const body = Buffer.from(JSON.stringify(intent));
      const holdPicoUsd = picoUsd(200_000_000_000n);
      await spool.open({ requestId, attempt: 1, lane: 0, holdPicoUsd, body });
    }
    spool.progress(speaking!, 1, 3);
  });
  await proxy.startProxy();
  expect(proxy.budget.released).toEqual([`${orphan}.1`]);
  const wire = (requestId: string) => `req-${requestId.replaceAll('-', '')}`;
  expect(await recordOf(wire(silent!))).toMatchObject({
    status: 'unknown',
    provenance: 'estimated_hold',
    cost_pusd: '200000000000',
    source: 'recovery',
  });
  expect(await recordOf(wire(speaking!))).toMatchObject({
    status: 'unknown',
    provenance: 'estimated_partial',
    usage_source: 'estimated_tokenizer',
    usage: { input_text: 100, output_text: 50 },
    cost_pusd: '200000000000',
    source: 'recovery',
  });
  await proxy.stopProxy();
  await proxy.startProxy();
  expect(await recordOf(wire(silent!))).toBeDefined();
});
