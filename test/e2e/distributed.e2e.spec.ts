/**
 * The services as processes of their own on Apache Kafka, PostgreSQL, Redis and ClickHouse over HTTP:
 * what holds for standalone holds for them, and any of them may be started again under way.
 */
import { existsSync, readFileSync } from 'node:fs';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import OpenAI, { APIError } from 'openai';
import { Client } from 'pg';

import { delay, SystemClock } from '#libs/kernel';
import { eventually, TestCluster, type ClusterModel } from '#libs/testing';

import { expectPrompt } from './harness/promptness.js';

/** 1,000 tokens at $3 and 500 at $6 per million: exactly $0.006 a call. */
const MODEL: ClusterModel = {
  id: 'fake-in1000-out500',
  inputTokens: 1000,
  outputTokens: 500,
  inputUsdPerMillion: '3',
  outputUsdPerMillion: '6',
};
const COST_USD = 0.006;
const AFFORDABLE = 20;
const CALLERS = 50;
const HELLO = [{ role: 'user' as const, content: 'Say hello.' }];

const clock = new SystemClock();
let cluster: TestCluster;

beforeAll(async () => {
  cluster = await TestCluster.start({ models: [MODEL], metering: 2 });
});
afterAll(() => cluster?.destroy());

function clientOf(key: string): OpenAI {
  return new OpenAI({ apiKey: key, baseURL: `${cluster.proxyUrl}/v1`, maxRetries: 0 });
}

function call(client: OpenAI): Promise<unknown> {
  return client.chat.completions.create({ model: MODEL.id, messages: HELLO });
}

/** Most tries of a walk; a budget is reserved until the calls under way are settled. */
const MOST_TRIES = 900;

/** Calls until served or refused for good; a reserved budget is waited for. */
async function walk(client: OpenAI): Promise<'served' | 'refused'> {
  for (let tries = 0; tries < MOST_TRIES; tries += 1) {
    try {
      await call(client);
      return 'served';
    } catch (error) {
      if (!(error instanceof APIError)) throw error;
      if (error.status === 401) return 'refused';
      // An account that is busy for long, as on a slow disk, refuses too, and nothing is sent.
      if (error.code !== 'budget_unavailable') {
        expect(error).toMatchObject({ status: 429, code: 'budget_reserved' });
      }
      await delay(100);
    }
  }
  throw new Error('the walk did not end');
}

/** The figures of a key once they count so many requests. */
function usageOf(id: string, requests: number): Promise<Record<string, unknown>> {
  return eventually(
    async () => {
      const { body } = await cluster.api.usage(`key_id=${id}`);
      return body?.total?.requests === requests ? body.total : false;
    },
    { deadlineMs: 60_000 },
  );
}

/** Settled and held of a key's own budget, and its open holds, by SQL. */
async function accountOf(keyIdHex: string): Promise<Record<string, string>> {
  const client = new Client({ connectionString: cluster.engines.postgres.directUrl });
  await client.connect();
  try {
    const { rows } = await client.query<Record<string, string>>(
      `SELECT trim_scale(settled_usd)::text AS settled, trim_scale(held_usd)::text AS held,
         (SELECT count(*) FROM budget.hold WHERE state = 'open')::text AS open
       FROM budget.budget_account
       WHERE scope = 'key' AND replace(subject_id, '-', '') = $1`,
      [keyIdHex],
    );
    return rows[0]!;
  } finally {
    await client.end();
  }
}

/** Attempts and tokens of the simulator's own log from a byte on. */
function billsSince(byte: number): { attempts: number; tokens: number } {
  const { simulatorLog } = cluster;
  const text = existsSync(simulatorLog) ? readFileSync(simulatorLog).subarray(byte).toString() : '';
  const lines = text.split('\n').filter((line) => line !== '');
  const entries = lines.map((line) => JSON.parse(line) as Record<string, number | string>);
  const billed = entries.filter((entry) => entry['line'] === 'billed');
  return {
    attempts: entries.filter((entry) => entry['line'] === 'received').length,
    tokens: billed.reduce(
      (sum, entry) => sum + Number(entry['billed_input']) + Number(entry['billed_output']),
      0,
    ),
  };
}

function logEnd(): number {
  return existsSync(cluster.simulatorLog) ? readFileSync(cluster.simulatorLog).length : 0;
}

describe('the services as processes of their own', () => {
  test('fifty callers on money for twenty get exactly twenty answers, and every store agrees', async () => {
    const start = logEnd();
    const { id, key } = await cluster.api.createKey({ max_budget: AFFORDABLE * COST_USD });
    const client = clientOf(key);
    const ends = await Promise.all(Array.from({ length: CALLERS }, () => walk(client)));
    expect(ends.filter((end) => end === 'served')).toHaveLength(AFFORDABLE);
    expect(await usageOf(id, AFFORDABLE)).toMatchObject({ charge_usd: '0.12', tokens: 30_000 });
    expect(billsSince(start)).toEqual({ attempts: AFFORDABLE, tokens: 30_000 });
    await eventually(async () => {
      expect(await accountOf(id)).toEqual({ settled: '0.12', held: '0', open: '0' });
    });
  });

  test('the official client gets plain and streamed answers, and both are priced', async () => {
    const { id, key } = await cluster.api.createKey({ max_budget: 1 });
    const { data, response } = await clientOf(key)
      .chat.completions.create({ model: MODEL.id, messages: HELLO })
      .withResponse();
    expect(data.usage).toMatchObject({ prompt_tokens: 1000, completion_tokens: 500 });
    expect(response.headers.get('x-cost-usd')).toBe('0.006');
    const stream = await clientOf(key).chat.completions.create({
      model: MODEL.id,
      messages: HELLO,
      stream: true,
    });
    let text = '';
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '';
    expect(text).not.toBe('');
    expect(await usageOf(id, 2)).toMatchObject({ charge_usd: '0.012', estimated_requests: 0 });
  });

  test('a key that is switched off is refused by the proxy within a second', async () => {
    await expectPrompt(1_000, async () => {
      const { id, key } = await cluster.api.createKey();
      expect(await walk(clientOf(key))).toBe('served');
      const { status } = await cluster.api.admin('PUT', `/api/keys/${id}`, { is_active: false });
      expect(status).toBe(200);
      const changedMs = clock.monotonicMs();
      await eventually(() => call(clientOf(key)).then(() => false, isUnauthorised));
      return clock.monotonicMs() - changedMs;
    });
  });

  test('a spent budget revokes its key, and a raised one reinstates it', async () => {
    const { id, key } = await cluster.api.createKey({ max_budget: COST_USD });
    expect(await walk(clientOf(key))).toBe('served');
    const statusOf = async (): Promise<string> =>
      (await cluster.api.admin('GET', `/api/keys/${id}`)).body.status;
    await eventually(async () => expect(await statusOf()).toBe('revoked'));
    await cluster.api.admin('PUT', `/api/keys/${id}`, { max_budget: 1 });
    await eventually(async () => expect(await walk(clientOf(key))).toBe('served'));
  });

  test('every service starts again after SIGTERM or SIGKILL, and what callers were charged is complete', async () => {
    const { id, key } = await cluster.api.createKey({ max_budget: 1 });
    const client = clientOf(key);
    let served = 0;
    for (const [turn, instance] of [...cluster.services.keys()].entries()) {
      const signal = turn % 2 === 0 ? 'SIGKILL' : 'SIGTERM';
      expect(await walk(client)).toBe('served');
      await cluster.restart(instance, signal);
      await eventually(() => call(client), { deadlineMs: 60_000 });
      served += 2;
    }
    const total = await usageOf(id, served);
    expect(total['estimated_requests']).toBe(0);
    await eventually(async () => {
      const account = await accountOf(id);
      expect(account['held']).toBe('0');
      expect(account['settled']).toBe((served * COST_USD).toFixed(3));
    });
  });

  test('services say nothing on standard output but that they serve', () => {
    expect(cluster.unexpectedOutput()).toEqual({});
  });
});

function isUnauthorised(error: unknown): boolean {
  return error instanceof APIError && error.status === 401;
}
