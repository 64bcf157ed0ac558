import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import {
  KafkaEventLog,
  PostgresEventLog,
  productTopics,
  provisionKafkaTopics,
  provisionTopics,
} from '#libs/event-log/adapters';
import type { EventLog } from '#libs/event-log/core';
import { SystemClock, SystemRandom } from '#libs/kernel';
import { ClickHouseEngine } from '#libs/platform/clickhouse';
import {
  startTestClickHouse,
  startTestKafka,
  startTestPostgres,
  TcpFaultProxy,
  type TestClickHouse,
} from '#libs/testing';
import { ClickHouseUsageStore } from '#libs/usage/adapters';
import { POSTGRES_MIGRATIONS } from '#migrations';

import type { AskLedger } from './ledger-check.js';
import { RenameTrap } from './rename-trap.js';
import type { WorkerSettings } from './worker-protocol.js';

/** Where the log and the ledger of a run are. */
export interface EngineChoice {
  readonly log: 'postgres' | 'kafka';
  /** `server`: ClickHouse over HTTP in a process of its own; `embedded`: inside the worker. */
  readonly store: 'server' | 'embedded';
  /** Prepares ClickHouse to be ended in its crash window. @default false */
  readonly inCrashWindow?: boolean;
}

/** `LOG_PARTITIONS` of the runs, as in standalone. */
export const PARTITIONS = 3;
const LEDGER = 'ledger';

/** The engines of a run. */
export interface FaultEngines {
  readonly databaseUrl: string;
  readonly kafkaBrokers: readonly string[] | null;
  readonly eventLog: EventLog;
  readonly worker: WorkerSettings;
  /** Null when the ledger is embedded. */
  readonly clickhouse: TestClickHouse | null;
  /** Between the workers and ClickHouse; null when the ledger is embedded. */
  readonly proxy: TcpFaultProxy | null;
  /** In the ClickHouse process; null when there is none, or no compiler. */
  readonly trap: RenameTrap | null;
  /** Asks ClickHouse itself; null when the ledger is embedded: then the worker is asked. */
  readonly ask: AskLedger | null;
  stop(): Promise<void>;
}

/** Starts PostgreSQL, ClickHouse and, if asked for, Kafka, all at their schema. */
export async function startFaultEngines(choice: EngineChoice): Promise<FaultEngines> {
  const stops: (() => Promise<unknown> | void)[] = [];
  const stop = async (): Promise<void> => {
    for (const step of stops.splice(0).toReversed()) await step();
  };
  try {
    return await start(choice, stops, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

async function start(
  choice: EngineChoice,
  stops: (() => Promise<unknown> | void)[],
  stop: () => Promise<void>,
): Promise<FaultEngines> {
  const clock = new SystemClock();
  const random = new SystemRandom();
  const postgres = await startTestPostgres({ migrations: POSTGRES_MIGRATIONS });
  stops.push(() => postgres.stop());
  const topics = productTopics(PARTITIONS);
  let eventLog: EventLog;
  let kafkaBrokers: readonly string[] | null = null;
  if (choice.log === 'kafka') {
    const kafka = await startTestKafka({ brokers: 1 });
    stops.push(() => kafka.stop());
    kafkaBrokers = kafka.addresses;
    await provisionKafkaTopics({ brokers: kafkaBrokers, clientId: 'sink-faults' }, topics);
    eventLog = new KafkaEventLog({
      brokers: kafkaBrokers,
      clientId: 'sink-faults',
      clock,
      random,
      topics,
    });
  } else {
    await provisionTopics(postgres.url, topics);
    eventLog = new PostgresEventLog({ database: postgres.database('metering'), clock, random });
  }
  stops.push(() => eventLog.close());
  const { clickhouse, proxy, trap, target } = await startLedger(choice, stops);
  return {
    databaseUrl: postgres.url,
    kafkaBrokers,
    eventLog,
    clickhouse,
    proxy,
    trap,
    ask: clickhouse === null ? null : (sql) => askServer(clickhouse.url, sql),
    worker: {
      databaseUrl: postgres.url,
      kafkaBrokers,
      clickhouse: target,
      ledger: LEDGER,
      partitions: PARTITIONS,
    },
    stop,
  };
}

async function startLedger(
  { store, inCrashWindow = false }: EngineChoice,
  stops: (() => Promise<unknown> | void)[],
): Promise<
  Pick<FaultEngines, 'clickhouse' | 'proxy' | 'trap'> & {
    readonly target: WorkerSettings['clickhouse'];
  }
> {
  if (store === 'embedded') {
    const dataDir = mkdtempSync(join(tmpdir(), 'tollgate-test-sink-'));
    stops.push(() => rmSync(dataDir, { recursive: true, force: true }));
    return { clickhouse: null, proxy: null, trap: null, target: { kind: 'embedded', dataDir } };
  }
  const trap = inCrashWindow ? RenameTrap.make() : null;
  stops.push(() => trap?.remove());
  const environment = trap?.environment ?? {};
  const clickhouse = await startTestClickHouse({ isOwn: true, environment });
  stops.push(() => clickhouse.stop());
  const direct = new ClickHouseEngine({
    target: { kind: 'server', url: clickhouse.url },
    database: LEDGER,
  });
  const schema = new ClickHouseUsageStore(direct);
  await schema.migrate();
  await schema.close();
  const proxy = await TcpFaultProxy.open({ targetPort: clickhouse.process!.port });
  stops.push(() => proxy.close());
  const target = { kind: 'server', url: `http://127.0.0.1:${proxy.port}` } as const;
  return { clickhouse, proxy, trap, target };
}

/** A statement over plain HTTP. */
async function askServer(url: string, sql: string): Promise<readonly object[]> {
  const quoted =
    'output_format_json_quote_64bit_integers=1&output_format_json_quote_decimals=1' +
    '&wait_end_of_query=1&default_format=JSONEachRow';
  const response = await fetch(`${url}/?${quoted}`, { method: 'POST', body: sql });
  const text = await response.text();
  if (!response.ok) throw new Error(`ClickHouse: ${text.slice(0, 300)}`);
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as object);
}
