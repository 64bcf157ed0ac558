// Guarantee: one run of `migrate` makes everything that the separate services look for, on brokers that
// ask for TLS and a login; whoever has none is told so and gets nothing.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { openEventLog, type KafkaSettings } from '#libs/event-log/adapters';
import { EphemeralPartitionOwner, type EventLog } from '#libs/event-log/core';
import { partitionCount, TOPICS } from '#libs/events';
import { SystemClock, SystemRandom } from '#libs/kernel';
import { KafkaConfig, loadConfig, type Environment } from '#libs/platform/config';
import {
  eventually,
  startTestKafka,
  startTestPostgres,
  type TestKafka,
  type TestPostgres,
} from '#libs/testing';

const run = promisify(execFile);
const MIGRATE = fileURLToPath(new URL('../src/migrate.main.js', import.meta.url));
const LOGIN = { username: 'tollgate', password: 'for-tests-only' };
const PARTITIONS = 2;

let kafka: TestKafka;
let postgres: TestPostgres;
let environment: Environment;
const logs: EventLog[] = [];
beforeAll(async () => {
  [kafka, postgres] = await Promise.all([
    startTestKafka({ brokers: 1, login: LOGIN }),
    startTestPostgres(),
  ]);
  environment = {
    DATABASE_URL: postgres.url,
    LOG_PARTITIONS: String(PARTITIONS),
    KAFKA_BROKERS: kafka.addresses.join(),
    KAFKA_SSL: kafka.certificateFile!,
    KAFKA_SASL_MECHANISM: 'plain',
    KAFKA_SASL_USERNAME: LOGIN.username,
    KAFKA_SASL_PASSWORD: LOGIN.password,
  };
}, 240_000);
afterAll(async () => {
  await Promise.all(logs.map((log) => log.close()));
  await Promise.all([kafka.stop(), postgres.stop()]);
});

function open(service: string, changes: Partial<KafkaSettings> = {}): EventLog {
  const log = openEventLog({
    service,
    runtime: { clock: new SystemClock(), random: new SystemRandom(), partitions: PARTITIONS },
    database: postgres.database(null),
    kafka: Object.assign({}, loadConfig(KafkaConfig, environment), changes),
  });
  logs.push(log);
  return log;
}

test('after a run of migrate each service finds its topics, and a second run changes nothing', async () => {
  for (let time = 1; time <= 2; time += 1) {
    const { stdout } = await run(process.execPath, [MIGRATE], { env: { ...environment } });
    expect(stdout).toBe('the database is up to date\n');
  }
  for (const log of [open('metering'), open('metering', { kafkaBrokers: null })]) {
    for (const topic of Object.values(TOPICS)) {
      expect([topic, await log.partitions(topic)]).toEqual([
        topic,
        partitionCount(topic, PARTITIONS),
      ]);
    }
  }
});

test('both clients come in with TLS and the login', async () => {
  const log = open('proxy');
  const one = {
    topic: TOPICS.control,
    partition: 0,
    key: 'k',
    headers: {},
    value: Buffer.from('v'),
  };
  await log.append([one]);
  const owner = new EphemeralPartitionOwner('earliest');
  const seen: string[] = [];
  await log.subscribe({
    group: 'proxy.control',
    topics: [TOPICS.control],
    owner,
    onError: () => undefined,
    maxRecords: 10,
    maxBytes: 1_000,
    lingerMs: () => 0,
    handle: async (batch) => {
      seen.push(...batch.records.map(({ key }) => key));
      batch.resolve(batch.records.at(-1)!.offset + 1n);
    },
  });
  await eventually(() => seen.length === 1);
  expect(seen).toEqual(['k']);
});

test('a wrong password, a foreign certificate and no TLS are refused', async () => {
  const topic = TOPICS.control;
  const one = { topic, partition: 0, key: 'k', headers: {}, value: Buffer.from('v') };
  const wrong = open('proxy', { kafkaSaslPassword: 'wrong' });
  await expect(wrong.append([one])).rejects.toMatchObject({ code: 'event_log.login_refused' });
  for (const kafkaSsl of [true, false]) {
    const log = open('proxy', { kafkaSsl });
    await expect(log.partitions(topic)).rejects.toMatchObject({ code: 'event_log.unavailable' });
  }
  expect(await open('proxy').bounds(topic, 0)).toEqual({ earliest: 0n, next: 1n });
});
