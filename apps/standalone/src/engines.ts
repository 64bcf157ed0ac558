import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

import { openProxySpool, SpoolEnd } from '#apps/proxy';
import { openEventLog, productTopics, provisionTopics } from '#libs/event-log/adapters';
import type { EventLog } from '#libs/event-log/core';
import { openJobs } from '#libs/jobs/adapters';
import type { Jobs } from '#libs/jobs/core';
import { untilEngineAnswers } from '#libs/kernel';
import { ClickHouseEngine, neededClickHouse } from '#libs/platform/clickhouse';
import { processEnvironment } from '#libs/platform/config';
import {
  Database,
  DataDirectoryLock,
  EmbeddedPostgres,
  migratePostgres,
  untilPostgresAnswers,
  type SchemaName,
} from '#libs/platform/postgres';
import type { Runtime } from '#libs/platform/telemetry';
import { UndiciTransport } from '#libs/providers/adapters';
import type { SqliteSpool } from '#libs/spool/adapters';
import {
  ClickHouseLedgerUpkeep,
  ClickHouseUsageReader,
  ClickHouseUsageStore,
} from '#libs/usage/adapters';
import { POSTGRES_MIGRATIONS } from '#migrations';

import type { StandaloneConfig } from './standalone.config.js';
import type { Steps } from './steps.js';

/** Connections per service; together below the embedded server's 80. */
const CONNECTIONS: Readonly<Record<'auth' | 'proxy' | 'metering' | 'budget', number>> = {
  auth: 6,
  proxy: 4,
  metering: 12,
  budget: 12,
};

/** The engines of one installation, open. */
export interface Engines {
  /** URL of the PostgreSQL in use, with its password. */
  readonly databaseUrl: string;
  readonly databases: Readonly<Record<keyof typeof CONNECTIONS, Database>>;
  readonly eventLog: EventLog;
  readonly jobs: Jobs;
  readonly usageStore: ClickHouseUsageStore;
  readonly usageReader: ClickHouseUsageReader;
  readonly ledgerUpkeep: ClickHouseLedgerUpkeep;
  readonly spool: SqliteSpool;
  readonly spoolEnd: SpoolEnd;
  readonly transport: UndiciTransport;
  /** Closes everything; the embedded PostgreSQL stops last. */
  close(): Promise<void>;
}

/**
 * Opens PostgreSQL (embedded unless `DATABASE_URL`), the event log in it, and ClickHouse (embedded
 * unless `CLICKHOUSE_URL`), each brought to its current schema.
 * @throws AppError whose message is one line that says what to do
 */
export async function openEngines(
  config: StandaloneConfig,
  dataDir: string,
  runtime: Runtime,
  lock: DataDirectoryLock,
  steps: Steps,
): Promise<Engines> {
  const postgres = await openPostgres(config, dataDir, runtime, lock, steps);
  try {
    const { databaseUrl } = postgres;
    await steps.run('PostgreSQL schema', () => prepare(databaseUrl, runtime));
    const databases = openDatabases(databaseUrl, runtime);
    const eventLog = openEventLog({
      service: 'standalone',
      runtime,
      database: databases.metering,
      kafka: config,
    });
    const jobs = await openJobs({ redisUrl: config.redisUrl, databaseUrl, runtime });
    const ledger = await openLedger(config, dataDir, runtime, steps);
    const spoolEnd = new SpoolEnd(runtime.logger, (code) => process.exit(code));
    const spool = await openProxySpool({
      directory: join(dataDir, 'spool'),
      ack: config.spoolAck,
      runtime,
      environment: processEnvironment(),
      onFatal: spoolEnd.onFatal,
    });
    const transport = new UndiciTransport({ connections: config.upstreamConnections });
    const close = async (): Promise<void> => {
      try {
        await transport.close();
        await spool.close();
        await jobs.close();
        await eventLog.close();
        await ledger.usageReader.close();
        await ledger.ledgerUpkeep.close();
        await ledger.usageStore.close();
        await Promise.all(Object.values(databases).map((database) => database.close()));
      } finally {
        await postgres.stop();
      }
    };
    return {
      databaseUrl,
      databases,
      eventLog,
      jobs,
      ...ledger,
      spool,
      spoolEnd,
      transport,
      close,
    };
  } catch (error) {
    await postgres.stop();
    throw error;
  }
}

interface OpenPostgres {
  readonly databaseUrl: string;
  readonly stop: () => Promise<void>;
}

async function openPostgres(
  config: StandaloneConfig,
  dataDir: string,
  { clock, random, logger }: Runtime,
  lock: DataDirectoryLock,
  steps: Steps,
): Promise<OpenPostgres> {
  if (config.databaseUrl !== null) {
    return { databaseUrl: config.databaseUrl, stop: async () => undefined };
  }
  const server = await steps.run('PostgreSQL (embedded)', () =>
    EmbeddedPostgres.start({
      dataDir,
      clock,
      random,
      lock,
      onUnexpectedExit: (reason) => {
        logger.fatal({ reason }, 'the embedded PostgreSQL ended; start again to go on');
        process.exit(1);
      },
    }),
  );
  return { databaseUrl: server.url, stop: () => server.stop() };
}

async function prepare(url: string, runtime: Runtime): Promise<void> {
  await untilPostgresAnswers(url, runtime);
  await migratePostgres({ url, migrations: POSTGRES_MIGRATIONS, logger: runtime.logger });
  await provisionTopics(url, productTopics(runtime.partitions));
}

function openDatabases(url: string, { logger }: Runtime): Engines['databases'] {
  const open = (schema: SchemaName & keyof typeof CONNECTIONS): Database =>
    new Database({
      url,
      schema,
      applicationName: `tollgate-${schema}`,
      maxConnections: CONNECTIONS[schema],
      onIdleError: (error) => logger.warn({ reason: error.message }, 'a connection broke'),
    });
  return {
    auth: open('auth'),
    proxy: open('proxy'),
    metering: open('metering'),
    budget: open('budget'),
  };
}

type Ledger = Pick<Engines, 'usageStore' | 'usageReader' | 'ledgerUpkeep'>;

async function openLedger(
  config: StandaloneConfig,
  dataDir: string,
  runtime: Runtime,
  steps: Steps,
): Promise<Ledger> {
  const engine = new ClickHouseEngine({ target: clickHouseTarget(config, dataDir) });
  const usageStore = new ClickHouseUsageStore(engine);
  const step = config.clickhouseUrl === null ? 'ClickHouse (embedded)' : 'ClickHouse';
  await steps.run(step, async () => {
    await untilEngineAnswers(neededClickHouse(engine), runtime);
    await usageStore.migrate();
  });
  const usageReader = new ClickHouseUsageReader(engine);
  return { usageStore, usageReader, ledgerUpkeep: new ClickHouseLedgerUpkeep(engine) };
}

function clickHouseTarget(
  config: StandaloneConfig,
  dataDir: string,
): { kind: 'server'; url: string } | { kind: 'embedded'; dataDir: string } {
  if (config.clickhouseUrl !== null) return { kind: 'server', url: config.clickhouseUrl };
  const folder = join(dataDir, 'clickhouse');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return { kind: 'embedded', dataDir: folder };
}
