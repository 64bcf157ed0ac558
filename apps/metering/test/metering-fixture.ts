import type { INestApplication } from '@nestjs/common';
import { pino } from 'pino';

import { meteringConsumer, MeteringModule, type MeteringOptions } from '#apps/metering';
import {
  openEventLog,
  PostgresEventLog,
  productTopics,
  provisionTopics,
} from '#libs/event-log/adapters';
import type { EventLog, LogRecord } from '#libs/event-log/core';
import { TOPICS, type UsageRatedV1 } from '#libs/events';
import type { Jobs } from '#libs/jobs/core';
import { parseUsd, type PicoUsd } from '#libs/kernel';
import type { ClickHouseEngine } from '#libs/platform/clickhouse';
import { createHttpApp } from '#libs/platform/http';
import { Database } from '#libs/platform/postgres';
import { LocalRpc, rpcService } from '#libs/platform/rpc';
import { createRuntime, type Runtime } from '#libs/platform/telemetry';
import { PRICE_DIRECTORY_METHODS, PriceDirectory, type PriceBook } from '#libs/pricing/core';
import type { IdentifiedPrice } from '#libs/pricing/core';
import { startTestPostgres, type TestPostgres } from '#libs/testing';
import { ClickHouseUsageStore } from '#libs/usage/adapters';
import { UsageStore, type BatchDigest, type BatchKey, type LedgerTable } from '#libs/usage/core';
import type { BatchSeal, LedgerUpkeep, RejectionRow, RollupCell, UsageRow } from '#libs/usage/core';
import { POSTGRES_MIGRATIONS } from '#migrations';

import { PARTITIONS, PRICE } from './sample-events.js';

/** The control plane's price book, with the one price of the sample events. */
export class SamplePrices extends PriceDirectory {
  async currentBook(): Promise<PriceBook> {
    return { version: 'f'.repeat(64), entries: [PRICE] };
  }
  async findEntry(priceId: string): Promise<IdentifiedPrice | null> {
    return priceId === PRICE.priceId ? PRICE : null;
  }
}

/** A database with every schema and topic. */
export async function startMeteringPostgres(): Promise<TestPostgres> {
  const postgres = await startTestPostgres({ migrations: POSTGRES_MIGRATIONS });
  await provisionTopics(postgres.url, productTopics(PARTITIONS));
  return postgres;
}

/** One running metering process, in this process. */
export interface Member {
  readonly app: INestApplication;
  readonly runtime: Runtime;
  readonly rpc: LocalRpc;
  readonly database: Database;
  readonly eventLog: EventLog;
  /** What it logged as an error, one JSON line each. */
  readonly errors: readonly string[];
  /** Finishes what is in hand and leaves. Idempotent. */
  stop(): Promise<void>;
}

/** What a member has other than usual. */
export interface MemberSettings {
  /** @default the one price of the sample events */
  readonly prices?: PriceDirectory;
  readonly adminApiKey?: string;
  /** With it the member rebuilds. */
  readonly ledgerUpkeep?: LedgerUpkeep;
  /** Closed by the test. @default none */
  readonly jobs?: Jobs;
  /** @default null: the log is in PostgreSQL */
  readonly kafkaBrokers?: readonly string[];
}

/** Starts metering on engines that outlive it. */
export async function startMember(
  url: string,
  usageStore: UsageStore,
  settings: MemberSettings = {},
): Promise<Member> {
  const errors: string[] = [];
  const runtime: Runtime = {
    ...createRuntime({ service: 'metering', partitions: PARTITIONS, logLevel: 'silent' }),
    logger: pino({ level: 'error' }, { write: (line) => void errors.push(line) }),
  };
  const database = new Database({ url, schema: 'metering', applicationName: 'member' });
  const { clock, random } = runtime;
  const { kafkaBrokers, adminApiKey, jobs, ledgerUpkeep, prices = new SamplePrices() } = settings;
  const eventLog =
    kafkaBrokers === undefined
      ? new PostgresEventLog({ database, clock, random, heartbeatMs: 100 })
      : openEventLog({ service: 'metering', runtime, database, kafka: { kafkaBrokers } });
  const rpc = new LocalRpc();
  rpc.expose(rpcService('auth.prices', prices, PRICE_DIRECTORY_METHODS));
  const options: MeteringOptions = {
    runtime,
    rpc,
    host: rpc,
    eventLog,
    database,
    usageStore,
    lingerMs: 5,
    ...(adminApiKey !== undefined && { adminApiKey }),
    ...(jobs !== undefined && { jobs }),
    ...(ledgerUpkeep !== undefined && { ledgerUpkeep }),
  };
  const app = await createHttpApp(MeteringModule.register(options), runtime, {
    serviceName: 'metering',
    adminApiKey: null,
    metricsToken: null,
  });
  const consumer = meteringConsumer(app, options);
  await app.init();
  await app.startAllMicroservices();
  let stopped: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    await consumer.close();
    await app.close();
    await eventLog.close();
    await database.close();
  };
  return { app, runtime, rpc, database, eventLog, errors, stop: () => (stopped ??= stop()) };
}

/** What the ledger holds, by the engine's own sums. */
export interface LedgerSums {
  readonly rows: number;
  readonly events: number;
  readonly chargePicoUsd: PicoUsd;
}

/** Sums of the usage ledger. */
export async function ledgerSums(engine: ClickHouseEngine): Promise<LedgerSums> {
  const session = engine.session('write');
  try {
    const rows = await session.rows<{ row_count: string; events: string; charge_usd: string }>({
      name: 'test.sums',
      sql: `SELECT count() AS row_count, uniqExact(event_id) AS events,
            sum(charge_usd) AS charge_usd FROM raw_usage_v1`,
    });
    const row = rows[0]!;
    return {
      rows: Number(row.row_count),
      events: Number(row.events),
      chargePicoUsd: parseUsd(row.charge_usd),
    };
  } finally {
    await session.close();
  }
}

/** Every message that the budgets were sent, in order per partition; offsets of a repeat once. */
export async function ratedMessages(log: EventLog): Promise<readonly UsageRatedV1[]> {
  const messages = new Map<string, UsageRatedV1>();
  for (let partition = 0; partition < PARTITIONS; partition += 1) {
    const { earliest, next } = await log.bounds(TOPICS.usageRated, partition);
    if (next === earliest) continue;
    const limit = { maxRecords: 100_000, maxBytes: 64 * 1024 * 1024 };
    for (const record of await log.read(TOPICS.usageRated, partition, earliest, limit)) {
      const rated = JSON.parse(Buffer.from(record.value).toString()) as UsageRatedV1;
      messages.set(rated.batch_id, rated);
    }
  }
  return [...messages.values()];
}

/** Everything that one partition of a topic holds. */
export async function recordsOf(
  log: EventLog,
  topic: string,
  partition: number,
): Promise<readonly LogRecord[]> {
  const { earliest, next } = await log.bounds(topic, partition);
  const limit = { maxRecords: 100_000, maxBytes: 64 * 1024 * 1024 };
  return next === earliest ? [] : log.read(topic, partition, earliest, limit);
}

/** A store whose inserts can be made to fail, before or after they took place. */
export class FaultyStore extends UsageStore {
  /** Called around every insert of usage; what it throws is what the caller sees. */
  beforeInsert: (key: BatchKey, rows: readonly UsageRow[]) => Promise<void> = async () => undefined;
  afterInsert: (key: BatchKey) => Promise<void> = async () => undefined;
  /** What the last insert of usage was given. */
  lastRows: readonly UsageRow[] = [];
  beforeDigest: () => Promise<void> = async () => undefined;
  afterDelete: () => Promise<void> = async () => undefined;
  /** Called after every insert of refusals. */
  afterRejections: () => Promise<void> = async () => undefined;

  constructor(readonly inner: ClickHouseUsageStore) {
    super();
  }

  async insertUsage(key: BatchKey, rows: readonly UsageRow[]): Promise<void> {
    this.lastRows = rows;
    await this.beforeInsert(key, rows);
    await this.inner.insertUsage(key, rows);
    await this.afterInsert(key);
  }
  async insertRejections(key: BatchKey, rows: readonly RejectionRow[]): Promise<void> {
    await this.inner.insertRejections(key, rows);
    await this.afterRejections();
  }
  insertCells(key: BatchKey, month: number, cells: readonly RollupCell[]): Promise<void> {
    return this.inner.insertCells(key, month, cells);
  }
  overwriteCells(key: BatchKey, month: number, cells: readonly RollupCell[]): Promise<void> {
    return this.inner.overwriteCells(key, month, cells);
  }
  insertSeals(seals: readonly BatchSeal[], sealedAtMs: number): Promise<void> {
    return this.inner.insertSeals(seals, sealedAtMs);
  }
  async digestOf(
    table: LedgerTable,
    batchId: string,
    months: readonly number[],
  ): Promise<BatchDigest> {
    await this.beforeDigest();
    return this.inner.digestOf(table, batchId, months);
  }
  async digestsOf(table: LedgerTable, batchIds: readonly string[], months: readonly number[]) {
    await this.beforeDigest();
    return this.inner.digestsOf(table, batchIds, months);
  }
  eventIdsOf(table: LedgerTable, batchId: string, months: readonly number[]) {
    return this.inner.eventIdsOf(table, batchId, months);
  }
  async deleteBatch(table: LedgerTable, batchId: string): Promise<void> {
    await this.inner.deleteBatch(table, batchId);
    await this.afterDelete();
  }
  endInsert(key: BatchKey): Promise<void> {
    return this.inner.endInsert(key);
  }
  ping(): Promise<void> {
    return this.inner.ping();
  }
  migrate(): Promise<void> {
    return this.inner.migrate();
  }
  close(): Promise<void> {
    return this.inner.close();
  }
}
