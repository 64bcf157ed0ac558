/**
 * After a power cut everything starts at once, the engines last: the services wait for them by
 * themselves, and what cannot get better by waiting ends a service at once.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import OpenAI from 'openai';

import { eventually, TestCluster, type ClusterModel, type ClusterProcess } from '#libs/testing';

const MODEL: ClusterModel = {
  id: 'fake-in10-out20',
  inputTokens: 10,
  outputTokens: 20,
  inputUsdPerMillion: '1',
  outputUsdPerMillion: '2',
};
/** What a service says when it starts without an engine that it cannot start without. */
const WAITING = { auth: 'waits for PostgreSQL', metering: 'waits for ClickHouse' };
const READY_MS = 120_000;

let cluster: TestCluster;

beforeAll(async () => {
  cluster = await TestCluster.start({ models: [MODEL], isOwn: true });
});
afterAll(() => cluster?.destroy());

function engines() {
  const { kafka, redis, postgres, clickhouse } = cluster.engines;
  return { broker: kafka.brokers[0]!, redis: redis.process!, postgres, clickhouse };
}

async function endEverything(): Promise<void> {
  const { broker, redis, postgres, clickhouse } = engines();
  await Promise.all([...cluster.services.values()].map((service) => service.end('SIGKILL')));
  const killed = [broker.kill(), redis.kill(), postgres.kill(), clickhouse.process.kill()];
  await Promise.all(killed);
}

function startEngines(): Promise<unknown> {
  const { broker, redis, postgres, clickhouse } = engines();
  const started = [broker.start(), redis.start(), postgres.restart(), clickhouse.process.start()];
  return Promise.all(started);
}

/** Ends a service whose start is under way, with other settings than its own. */
async function endOf(service: ClusterProcess, env: Readonly<Record<string, string>>) {
  await service.end('SIGKILL');
  service.spawn(env);
  return service.untilEnd();
}

function call(key: string): Promise<unknown> {
  const client = new OpenAI({ apiKey: key, baseURL: `${cluster.proxyUrl}/v1`, maxRetries: 0 });
  return client.chat.completions.create({
    model: MODEL.id,
    messages: [{ role: 'user', content: 'hello' }],
  });
}

describe('services that start while every engine is away', () => {
  test('none gives up: each serves when the engines are there, and the usage of before and after is whole', async () => {
    const { id, key } = await cluster.api.createKey({ max_budget: 1 });
    await call(key);
    await endEverything();
    const services = [...cluster.services.values()];
    for (const service of services) service.spawn();
    for (const [name, words] of Object.entries(WAITING)) {
      await eventually(() => cluster.service(name).lastErrors().includes(words), {
        deadlineMs: READY_MS,
      });
    }
    await Promise.all([startEngines(), ...services.map((service) => service.untilReady())]);
    await eventually(() => call(key), { deadlineMs: READY_MS });
    await eventually(
      async () => {
        const { body } = await cluster.api.usage(`key_id=${id}`);
        expect(body?.total?.requests).toBe(2);
      },
      { deadlineMs: READY_MS },
    );
  });

  test('a login that PostgreSQL refuses ends auth at once, with the reason', async () => {
    const auth = cluster.service('auth');
    const refused = new URL(cluster.engines.postgres.url);
    refused.password = 'wrong';
    const end = await endOf(auth, { DATABASE_URL: refused.toString() });
    expect(end).toEqual({ code: 1, signal: null });
    expect(auth.lastErrors()).toMatch(/auth: PostgreSQL .*password authentication failed/);
    await auth.start();
  });
});
