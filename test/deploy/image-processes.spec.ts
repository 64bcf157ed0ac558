// Guarantee: the command line of every image starts, answers at its health path, and stops on SIGTERM
// with exit code 0; those of the compose file, with its settings, are a product that answers a call and
// bills it. Run as plain processes in a laid out product, with the addresses of the compose network
// replaced by those of engines of this test: Apache Kafka, PostgreSQL, Redis, ClickHouse over HTTP.
import { execFile } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Kafka, logLevel } from 'kafkajs';

import { TOPICS } from '#libs/events';
import {
  eventually,
  stablePorts,
  startTestClickHouse,
  startTestKafka,
  startTestPostgres,
  startTestRedis,
  type TestClickHouse,
  type TestKafka,
  type TestPostgres,
  type TestRedis,
} from '#libs/testing';

import { composeFile, environmentOf, FILLED_IN } from './compose.js';
import { imageOf, PROJECT } from './dockerfile.js';
import { ImageProcess } from './image-process.js';
import { manifestsOf } from './manifests.js';

const run = promisify(execFile);
const compose = composeFile();
const folder = mkdtempSync(join(tmpdir(), 'tollgate-images-'));
const product = join(folder, 'app');
/** Those that serve; in the order of their start, which need not be any. */
const SERVING = ['simulator', 'auth', 'budget-enforcer', 'metering', 'reporting', 'proxy'] as const;

/** Longest test that waits for starts, milliseconds. */
const SLOW_START_MS = 360_000;

let kafka: TestKafka;
let postgres: TestPostgres;
let redis: TestRedis;
let clickhouse: TestClickHouse;
let ports: ReadonlyMap<string, number>;
const running = new Map<string, ImageProcess>();

/** An address of the compose network as one of this machine. */
function translated(value: string): string {
  if (value.startsWith('postgres://')) return postgres.url;
  if (value.startsWith('redis://')) return redis.url;
  if (value === 'kafka:9092') return kafka.addresses.join(',');
  if (value.includes('@clickhouse:8123')) return clickhouse.url;
  return value.replace(/^http:\/\/([a-z-]+):\d+$/, (whole, name: string) => {
    const port = ports.get(name);
    return port === undefined ? whole : `http://127.0.0.1:${port}`;
  });
}

/** What compose gives a service, on this machine. */
function settingsOf(name: string): Record<string, string> {
  const given = environmentOf(compose.services[name]!, FILLED_IN);
  const settings = Object.fromEntries(
    Object.entries(given).map(([variable, value]) => [variable, translated(value)]),
  );
  const port = String(ports.get(name) ?? 0);
  if (name === 'proxy') settings['SPOOL_DIR'] = join(folder, 'spool');
  return { ...settings, ...(name === 'simulator' ? { SIMULATOR_PORT: port } : { PORT: port }) };
}

function filesOf(root: string): readonly string[] {
  return readdirSync(root, { recursive: true })
    .map(String)
    .filter((path) => !path.startsWith('node_modules'))
    .map((path) => `${path} ${statSync(join(root, path)).mtimeMs}`)
    .toSorted();
}

beforeAll(async () => {
  await run(process.execPath, [join(PROJECT, 'scripts/build-production.mjs'), product]);
  symlinkSync(join(PROJECT, 'node_modules'), join(product, 'node_modules'));
  mkdirSync(join(folder, 'spool'), { mode: 0o700 });
  // As root the embedded database runs as another user, who must be able to pass through.
  chmodSync(folder, 0o711);
  [kafka, postgres, redis, clickhouse] = await Promise.all([
    startTestKafka({ brokers: 1 }),
    startTestPostgres(),
    startTestRedis(),
    startTestClickHouse(),
  ]);
  const chosen = await stablePorts(SERVING.length);
  ports = new Map(SERVING.map((name, index) => [name, chosen[index]!]));
}, SLOW_START_MS);

afterAll(async () => {
  await Promise.all([...running.values()].map((one) => one.kill()));
  await Promise.all([kafka, postgres, redis, clickhouse].map((engine) => engine?.stop()));
  rmSync(folder, { recursive: true, force: true });
});

let before: readonly string[];

test('migrate ends with 0, also when there is nothing left to do', async () => {
  before = filesOf(product);
  const first = new ImageProcess('migrate', product, settingsOf('migrate'));
  expect([await first.end(), first.printed]).toEqual([
    { code: 0, signal: null },
    expect.stringContaining('the database is up to date'),
  ]);
  const second = new ImageProcess('migrate', product, settingsOf('migrate'));
  expect(await second.end()).toEqual({ code: 0, signal: null });
});

test(
  'every service starts, lives and gets ready',
  async () => {
    for (const name of SERVING) {
      running.set(name, new ImageProcess(name, product, settingsOf(name)));
    }
    await Promise.all(
      SERVING.map(async (name) => {
        const live = imageOf(name).healthCheck!;
        const service = running.get(name)!;
        await service.answers(live[2]!);
        expect([name, await service.check(live)]).toEqual([name, 0]);
        await service.answers(name === 'simulator' ? '/health' : '/health/ready');
        const watch = compose.services[name]!.healthcheck!.test.slice(1);
        expect([name, await service.check(watch)]).toEqual([name, 0]);
      }),
    );
  },
  SLOW_START_MS,
);

test('together they answer a call and bill it', async () => {
  const operator = {
    authorization: `ADMIN ${FILLED_IN['ADMIN_API_KEY']}`,
    'content-type': 'application/json',
  };
  const made = await fetch(`${running.get('auth')!.url}/api/keys`, {
    method: 'POST',
    headers: operator,
    body: JSON.stringify({ name: 'image test' }),
  });
  const { key } = (await made.json()) as { readonly key: string };
  const ask = await fetch(`${running.get('proxy')!.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      model: 'fake-in1000-out500',
      messages: [{ role: 'user', content: 'Hello' }],
    }),
  });
  expect([ask.status, ask.headers.get('x-cost-usd')]).toEqual([200, '0.002']);
  await eventually(
    async () => {
      const usage = await fetch(`${running.get('reporting')!.url}/v1/usage/requests?limit=5`, {
        headers: { authorization: `Bearer ${key}` },
      });
      return (await usage.text()).includes('"fake-in1000-out500"');
    },
    { deadlineMs: 120_000 },
  );
});

test('the group that the scaler watches is one that metering reads with', async () => {
  const [scaler] = manifestsOf('metering-scaling.yaml');
  const { triggers } = scaler!['spec'] as {
    readonly triggers: readonly [{ readonly metadata: { readonly consumerGroup: string } }];
  };
  const group = triggers[0].metadata.consumerGroup;
  const admin = new Kafka({
    brokers: [...kafka.addresses],
    logLevel: logLevel.NOTHING,
  }).admin();
  await admin.connect();
  try {
    const { groups } = await admin.listGroups();
    expect(groups.map(({ groupId }) => groupId)).toContain(group);
    await eventually(async () => {
      const offsets = await admin.fetchOffsets({
        groupId: group,
        topics: [TOPICS.requestCompleted],
      });
      return offsets[0]!.partitions.some(({ offset }) => Number(offset) > 0);
    });
  } finally {
    await admin.disconnect();
  }
});

test('a service that cannot be reached fails its health check', async () => {
  const service = running.get('reporting')!;
  const [node = '', script = ''] = imageOf('reporting').healthCheck!;
  expect(await service.check([node, script, '/no/such/path'])).toBe(1);
});

test('none of them writes beside its volume', () => {
  expect(filesOf(product)).toEqual(before);
});

test('every service stops on SIGTERM with 0', async () => {
  const ends = await Promise.all(
    SERVING.map(async (name) => [name, await running.get(name)!.stop()] as const),
  );
  for (const [name, end] of ends) expect([name, end]).toEqual([name, { code: 0, signal: null }]);
});

test('a service that stopped fails its health check', async () => {
  const service = running.get('auth')!;
  expect(await service.check(imageOf('auth').healthCheck!)).toBe(1);
});

test(
  'standalone starts from nothing, lives, and stops on SIGTERM with 0',
  async () => {
    const dataDir = join(folder, 'data');
    const [port] = await stablePorts(1);
    const environment = { PORT: String(port), DATA_DIR: dataDir };
    const standalone = new ImageProcess('standalone', product, environment);
    running.set('standalone', standalone);
    await standalone.answers('/health/ready');
    expect(await standalone.check(imageOf('standalone').healthCheck!)).toBe(0);
    expect([await standalone.stop(), standalone.printed]).toEqual([
      { code: 0, signal: null },
      expect.stringContaining('Tollgate is ready'),
    ]);
    expect(filesOf(product)).toEqual(before);
  },
  SLOW_START_MS,
);
