/**
 * After a power cut everything starts at once, the engines last: the services wait for them by
 * themselves, and what cannot get better by waiting ends a service at once.
 */
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import OpenAI from 'openai';

import { projectRoot } from '#libs/platform/config';
import { ClusterProcess, eventually, TestCluster, type ClusterModel } from '#libs/testing';

const MODEL: ClusterModel = {
  id: 'fake-in10-out20',
  inputTokens: 10,
  outputTokens: 20,
  inputUsdPerMillion: '1',
  outputUsdPerMillion: '2',
};
const READY_MS = 120_000;
const LOG_PARTITIONS = 4;

let cluster: TestCluster;
let migration: ClusterProcess;

beforeAll(async () => {
  cluster = await TestCluster.start({
    models: [MODEL],
    isOwn: true,
    logPartitions: LOG_PARTITIONS,
  });
  migration = new ClusterProcess({
    name: 'migrate-again',
    entry: join(projectRoot(), 'dist/apps/standalone/src/migrate.main.js'),
    directory: cluster.directory,
    ready: /^the database is up to date$/m,
    env: {
      DATABASE_URL: cluster.engines.postgres.url,
      KAFKA_BROKERS: cluster.engines.kafka.addresses.join(','),
      LOG_PARTITIONS: String(LOG_PARTITIONS),
    },
  });
});
afterAll(async () => {
  await migration?.end('SIGKILL');
  await cluster?.destroy();
});

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

/** Waits until a process that starts says that it waits for an engine. */
async function untilWaiting(process: ClusterProcess, engine: string): Promise<void> {
  await eventually(() => process.lastErrors().includes(`waits for ${engine}`), {
    deadlineMs: READY_MS,
  });
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
    for (const process of [migration, ...services]) process.spawn();
    const { broker, redis, postgres, clickhouse } = engines();
    await Promise.all([
      untilWaiting(cluster.service('auth'), 'PostgreSQL'),
      untilWaiting(cluster.service('metering'), 'ClickHouse'),
      untilWaiting(migration, 'PostgreSQL'),
    ]);
    await postgres.restart();
    await untilWaiting(migration, 'Kafka');
    await Promise.all([broker.start(), redis.start(), clickhouse.process.start()]);
    await Promise.all(services.map((service) => service.untilReady()));
    expect(await migration.untilEnd()).toEqual({ code: 0, signal: null });
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
