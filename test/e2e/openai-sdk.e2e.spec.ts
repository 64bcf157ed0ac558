/**
 * The official OpenAI client against one installation: it sees nothing unusual, and every call it
 * makes is priced, per key and per team.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import OpenAI, { AuthenticationError, BadRequestError, NotFoundError } from 'openai';

import { SystemClock } from '#libs/kernel';
import { eventually } from '#libs/testing';

import { expectPrompt } from './harness/promptness.js';
import { Tollgate, type Json, type TestModel } from './harness/tollgate.js';

const SMALL: TestModel = {
  id: 'fake-in10-out20',
  inputTokens: 10,
  outputTokens: 20,
  inputUsdPerMillion: '1',
  outputUsdPerMillion: '2',
};
const LONG: TestModel = { ...SMALL, id: 'fake-in10-out2000', outputTokens: 2000 };

/** 10 tokens at $1 and 20 at $2 per million. */
const SMALL_COST_USD = '0.00005';

const clock = new SystemClock();
const tollgate = new Tollgate([SMALL, LONG]);

beforeAll(() => tollgate.start());
afterAll(() => tollgate.destroy());

function clientOf(key: string, maxRetries = 0): OpenAI {
  return new OpenAI({ apiKey: key, baseURL: `${tollgate.url}/v1`, maxRetries });
}

/** The figures of a key per key and team, once they count so many requests. */
function visible(id: string, requests: number): Promise<Json> {
  return tollgate.usageEventually(
    `group_by=key,team&key_id=${id}`,
    ({ data }) => data.length === 1 && data[0].requests === requests,
  );
}

const HELLO = [{ role: 'user' as const, content: 'Say hello.' }];

describe('the official client', () => {
  test('gets a plain answer, and its cost is visible per key and per team within two seconds', async () => {
    await tollgate.admin('POST', '/teams', { team_id: 'sdk', team_name: 'SDK' });
    const { id, key } = await tollgate.createKey({ team_id: 'sdk' });
    const { data, response } = await clientOf(key)
      .chat.completions.create({ model: SMALL.id, messages: HELLO })
      .withResponse();
    expect(data.choices[0]?.message.content).toEqual(expect.any(String));
    expect(data.usage).toMatchObject({ prompt_tokens: 10, completion_tokens: 20 });
    expect(response.headers.get('x-cost-usd')).toBe(SMALL_COST_USD);
    expect(response.headers.get('x-request-id')).toMatch(/^req-[0-9a-f]{32}$/);
    const usage = await visible(id, 1);
    expect(usage.data[0]).toMatchObject({
      team: 'sdk',
      requests: 1,
      tokens_in: 10,
      tokens_out: 20,
      cost_usd: SMALL_COST_USD,
      charge_usd: SMALL_COST_USD,
    });
    let requests = 1;
    await expectPrompt(2_000, async () => {
      await clientOf(key).chat.completions.create({ model: SMALL.id, messages: HELLO });
      const answeredMs = clock.monotonicMs();
      requests += 1;
      await visible(id, requests);
      return clock.monotonicMs() - answeredMs;
    });
  });

  test('gets a stream without a usage chunk it did not ask for, and the stream is priced', async () => {
    const { id, key } = await tollgate.createKey();
    const stream = await clientOf(key).chat.completions.create({
      model: SMALL.id,
      messages: HELLO,
      stream: true,
    });
    let text = '';
    let chunks = 0;
    for await (const chunk of stream) {
      expect(chunk.choices).not.toHaveLength(0);
      expect(chunk.usage ?? null).toBeNull();
      text += chunk.choices[0]?.delta.content ?? '';
      chunks += 1;
    }
    expect(chunks).toBeGreaterThan(1);
    expect(text).not.toBe('');
    const usage = await tollgate.usageEventually(`key_id=${id}`, (b) => b.total.requests === 1);
    expect(usage.total).toMatchObject({ tokens_out: 20, cost_usd: SMALL_COST_USD });
  });

  test('gets the usage chunk when it asked for it', async () => {
    const { key } = await tollgate.createKey();
    const stream = await clientOf(key).chat.completions.create({
      model: SMALL.id,
      messages: HELLO,
      stream: true,
      stream_options: { include_usage: true },
    });
    const usages = [];
    for await (const chunk of stream) if (chunk.usage) usages.push(chunk.usage);
    expect(usages).toHaveLength(1);
    expect(usages[0]).toMatchObject({ prompt_tokens: 10, completion_tokens: 20 });
  });

  test('that hangs up in mid-stream is charged what the provider bills, once', async () => {
    const { id, key } = await tollgate.createKey();
    const stream = await clientOf(key).chat.completions.create({
      model: LONG.id,
      messages: HELLO,
      stream: true,
    });
    let seen = 0;
    for await (const _chunk of stream) {
      seen += 1;
      if (seen === 3) stream.controller.abort();
    }
    const usage = await tollgate.usageEventually(`key_id=${id}`, (b) => b.total.requests === 1);
    expect(usage.total).toMatchObject({
      tokens_in: 10,
      tokens_out: 2000,
      cost_usd: '0.00401',
      estimated_requests: 0,
    });
  });

  test('with a wrong key gets 401 invalid_api_key', async () => {
    const call = clientOf('sk-mp-wrong').chat.completions.create({
      model: SMALL.id,
      messages: HELLO,
    });
    await expect(call).rejects.toBeInstanceOf(AuthenticationError);
    await expect(call).rejects.toMatchObject({ code: 'invalid_api_key' });
  });

  test('with a disabled key gets 401 key_inactive within a second of the change', async () => {
    await expectPrompt(1_000, async () => {
      const { id, key } = await tollgate.createKey();
      const call = (): Promise<unknown> =>
        clientOf(key).chat.completions.create({ model: SMALL.id, messages: HELLO });
      await call();
      await tollgate.admin('DELETE', `/api/keys/${id}`);
      const changedMs = clock.monotonicMs();
      const error = await eventually(() =>
        call().then(
          () => false as const,
          (e: unknown) => e,
        ),
      );
      expect(error).toMatchObject({ status: 401, code: 'key_inactive' });
      return clock.monotonicMs() - changedMs;
    });
  });

  test('with a rotated key works, and the old secret stops', async () => {
    const { id, key } = await tollgate.createKey();
    const { body } = await tollgate.admin('POST', `/api/keys/${id}/rotate`);
    await clientOf(body.key).chat.completions.create({ model: SMALL.id, messages: HELLO });
    await expect(
      clientOf(key).chat.completions.create({ model: SMALL.id, messages: HELLO }),
    ).rejects.toMatchObject({ status: 401, code: 'invalid_api_key' });
  });

  test('with an unknown model gets 404 model_not_found, and nothing goes upstream', async () => {
    const { key } = await tollgate.createKey();
    const call = clientOf(key).chat.completions.create({ model: 'no-such-model', messages: HELLO });
    await expect(call).rejects.toBeInstanceOf(NotFoundError);
    await expect(call).rejects.toMatchObject({ code: 'model_not_found' });
  });

  test('with a body the route refuses gets 400 that names the member', async () => {
    const { key } = await tollgate.createKey();
    const call = clientOf(key).chat.completions.create({
      model: SMALL.id,
      messages: HELLO,
      max_tokens: 'many' as unknown as number,
    });
    await expect(call).rejects.toBeInstanceOf(BadRequestError);
    await expect(call).rejects.toMatchObject({ param: 'max_tokens' });
  });

  test('lists the models it may use', async () => {
    const { key } = await tollgate.createKey({ allowed_models: [SMALL.id] });
    const models = await clientOf(key).models.list();
    expect(models.data.map((model) => model.id)).toEqual([SMALL.id]);
  });
});
