/**
 * The product's sink in a process of its own without the framework, for tests that kill it many
 * times: it carries `request.completed` from the log to the ledger. Partitions are its own from the
 * start; there is no group to join and to be timed out of.
 */
import { openSink, type UsageSink } from '#apps/metering';
import { openEventLog } from '#libs/event-log/adapters';
import type { EventLog } from '#libs/event-log/core';
import { TOPICS } from '#libs/events';
import { armFailpoints, assert, delay, messageOf } from '#libs/kernel';
import { ClickHouseEngine } from '#libs/platform/clickhouse';
import { Database } from '#libs/platform/postgres';
import { createRuntime } from '#libs/platform/telemetry';
import { ClickHouseUsageStore } from '#libs/usage/adapters';
import type { UsageStore } from '#libs/usage/core';

import { PRICES } from './usage-records.js';
import type { WorkerOrder, WorkerReport, WorkerSettings } from './worker-protocol.js';

/** Pause between looks at a partition that has nothing new, milliseconds. */
const POLL_MS = 5;
/** Pause after a failure, milliseconds. */
const RETRY_MS = 20;
const READ_LIMIT = { maxRecords: 5_000, maxBytes: 64 * 1024 * 1024 };

const settings = JSON.parse(process.argv[2] ?? '') as WorkerSettings;
const report = (message: WorkerReport): void => void process.send?.(message);

process.on('message', (order: WorkerOrder) => void obey(order).catch(fail));
// Without its driver it has nobody to work for.
process.once('disconnect', () => process.exit(0));
// The engine's library is loaded ahead, like all code.
if (settings.clickhouse.kind === 'embedded') await import('chdb');
report({ kind: 'loaded' });

let engine: ClickHouseEngine | undefined;

async function obey(order: WorkerOrder): Promise<void> {
  if (order.kind === 'arm') armFailpoints(order.failpoints);
  else if (order.kind === 'go') await work();
  else {
    assert(engine !== undefined, 'a worker is asked once it works');
    const session = engine.session('read');
    const rows = await session.rows<object>({ name: 'test.ask', sql: order.sql });
    await session.close();
    report({ kind: 'answer', id: order.id, rows });
  }
}

async function work(): Promise<void> {
  const runtime = createRuntime({
    service: 'sink-worker',
    partitions: settings.partitions,
    logLevel: 'silent',
  });
  const database = new Database({
    url: settings.databaseUrl,
    schema: 'metering',
    applicationName: 'sink-worker',
    maxConnections: 2 * settings.partitions + 2,
  });
  engine = new ClickHouseEngine({ target: settings.clickhouse, database: settings.ledger });
  const { kafkaBrokers } = settings;
  const eventLog = openEventLog({
    service: 'sink-worker',
    runtime,
    database,
    kafka: { kafkaBrokers },
  });
  const store = new ClickHouseUsageStore(engine);
  // The schema of a server is the driver's, which may weaken it.
  if (settings.clickhouse.kind === 'embedded') await store.migrate();
  const sink = openSink({
    clock: runtime.clock,
    random: runtime.random,
    logger: runtime.logger,
    metrics: runtime.metrics,
    logPartitions: settings.partitions,
    database,
    eventLog,
    usageStore: watched(store),
    prices: {
      findEntry: async (priceId) => PRICES.find((one) => one.priceId === priceId) ?? null,
    },
  });
  for (let partition = 0; partition < settings.partitions; partition += 1) {
    void runPartition(sink, eventLog, partition);
  }
  report({ kind: 'working' });
}

/** Takes the partition, hands over what the log holds, and takes it anew after a failure. */
async function runPartition(sink: UsageSink, eventLog: EventLog, partition: number): Promise<void> {
  const topic = TOPICS.requestCompleted;
  const { signal } = new AbortController();
  for (;;) {
    try {
      const bounds = await eventLog.bounds(topic, partition);
      const { epoch, nextOffset } = await sink.owner.take(topic, partition, bounds);
      for (let from = nextOffset; ;) {
        const records = await eventLog.read(topic, partition, from, READ_LIMIT);
        const resolve = (offset: bigint): void => void (from = offset);
        if (records.length === 0) await delay(POLL_MS);
        else await sink.handle({ topic, partition, epoch, records, signal, resolve });
      }
    } catch (error) {
      report({ kind: 'failure', text: messageOf(error) });
      await delay(RETRY_MS);
    }
  }
}

/** The store, with its inserts of usage rows told to the driver as they begin and end. */
function watched(store: UsageStore): UsageStore {
  const insertUsage: UsageStore['insertUsage'] = async (key, rows) => {
    report({ kind: 'insert' });
    let isAnswered = false;
    try {
      await store.insertUsage(key, rows);
      isAnswered = true;
    } finally {
      report({ kind: 'inserted', isAnswered });
    }
  };
  return new Proxy(store, {
    get: (target, name): unknown => {
      if (name === 'insertUsage') return insertUsage;
      const member: unknown = Reflect.get(target, name, target);
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
}

function fail(error: unknown): void {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exit(1);
}
