/** What a newcomer does to an installation: restart it, start it twice, break its settings. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import OpenAI from 'openai';

import { eventually } from '#libs/testing';

import { Tollgate, type TestModel } from './harness/tollgate.js';

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

function call(key: string): Promise<unknown> {
  const client = new OpenAI({ apiKey: key, baseURL: `${tollgate.url}/v1`, maxRetries: 0 });
  return client.chat.completions.create({
    model: MODEL.id,
    messages: [{ role: 'user', content: 'hello' }],
  });
}

describe('standalone', () => {
  test('stops on SIGINT with exit code 0 and finds keys, usage and budgets again', async () => {
    const { id, key } = await tollgate.createKey({ max_budget: 1 });
    await call(key);
    const before = await eventually(async () => {
      const { body } = await tollgate.admin('GET', `/api/keys/${id}`);
      return body.total_requests === 1 && body.spent > 0 ? body : false;
    });
    expect(await tollgate.endStandalone('SIGINT')).toBe(0);
    await tollgate.startStandalone();
    expect((await tollgate.admin('GET', `/api/keys/${id}`)).body).toEqual(before);
    await call(key);
    const usage = await tollgate.usageEventually(`key_id=${id}`, (b) => b.total.requests === 2);
    expect(usage.total.charge_usd).toBe('0.0001');
  });

  test('refuses a second start on the same data with one clear line, and the first goes on', async () => {
    const second = tollgate.spawnStandalone();
    expect(await second.untilExit()).toBe(1);
    const lines = second.printed.split('\n').filter((line) => line.includes(tollgate.dataDir));
    expect(lines).toHaveLength(1);
    expect((await tollgate.admin('GET', '/health')).status).toBe(200);
  });

  test('starts again after kill -9 and serves what was there', async () => {
    const { key } = await tollgate.createKey();
    await tollgate.endStandalone('SIGKILL');
    await tollgate.startStandalone();
    await expect(call(key)).resolves.toHaveProperty('usage');
  });

  test('says every fault of its settings at once and exits with 2', async () => {
    const faulty = tollgate.spawnStandalone({
      PORT: 'eighty',
      LOG_PARTITIONS: '0',
      SPOOL_ACK: 'maybe',
    });
    expect(await faulty.untilExit()).toBe(2);
    for (const name of ['PORT', 'LOG_PARTITIONS', 'SPOOL_ACK'])
      expect(faulty.printed).toContain(name);
  });

  test('refuses a faulty catalogue with every fault named and exits with 2', async () => {
    await tollgate.endStandalone('SIGTERM');
    const faulty = tollgate.spawnStandalone({ CATALOG_FILE: tollgate.faultyCatalog() });
    expect(await faulty.untilExit()).toBe(2);
    expect(faulty.printed).toContain('no_such_member');
    expect(faulty.printed).toContain('nowhere');
    await tollgate.startStandalone();
  });

  test('a request in flight at SIGTERM is answered before the process ends', async () => {
    const { key } = await tollgate.createKey();
    const before = tollgate.attempts();
    const answer = fetch(`${tollgate.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: JSON.stringify({
        model: MODEL.id,
        messages: [{ role: 'user', content: 'slowly' }],
        simulator: { latency_ms: 1_000 },
      }),
    });
    await eventually(() => tollgate.attempts() > before);
    const ended = tollgate.endStandalone('SIGTERM');
    expect((await answer).status).toBe(200);
    expect(await ended).toBe(0);
    await tollgate.startStandalone();
  });
});
