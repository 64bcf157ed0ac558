import { openEventLog } from '#libs/event-log/adapters';
import { openJobs } from '#libs/jobs/adapters';
import { ClickHouseEngine, neededClickHouse } from '#libs/platform/clickhouse';
import { loadConfig, processEnvironment } from '#libs/platform/config';
import { runService, type ServiceProcess } from '#libs/platform/http';
import { Database } from '#libs/platform/postgres';
import { HttpRpcTransport, registerRpcRoutes, RpcServices } from '#libs/platform/rpc';
import { createRuntime } from '#libs/platform/telemetry';
import { ClickHouseLedgerUpkeep, ClickHouseUsageStore } from '#libs/usage/adapters';

import { meteringConsumer } from './metering-consumer.js';
import { MeteringConfig } from './metering.config.js';
import { MeteringModule } from './metering.module.js';
import type { MeteringOptions } from './metering-options.js';

/** Longest time a call to another service may take, milliseconds. */
const RPC_TIMEOUT_MS = 5_000;
/** Each partition may hold a transaction while the log and the relay hold one each. */
const MAX_CONNECTIONS = 20;

/**
 * Runs metering as a process of its own. The schema of PostgreSQL is brought up to date by the
 * deployment's migration, not here.
 */
export function run(): Promise<void> {
  return runService('metering', () =>
    meteringProcess(
      loadConfig(MeteringConfig, processEnvironment(), { ownPrefixes: ['METERING_'] }),
    ),
  );
}

async function meteringProcess(config: MeteringConfig): Promise<ServiceProcess> {
  const { logLevel, logPartitions: partitions, serviceSecret, metricsToken } = config;
  const runtime = createRuntime({ service: 'metering', partitions, logLevel });
  const database = new Database({
    url: config.databaseUrl,
    schema: 'metering',
    applicationName: 'tollgate-metering',
    maxConnections: MAX_CONNECTIONS,
    onIdleError: (error) => runtime.logger.warn({ reason: error.message }, 'a connection broke'),
  });
  const engine = new ClickHouseEngine({ target: { kind: 'server', url: config.clickhouseUrl } });
  const rpc = new HttpRpcTransport({
    baseUrls: { auth: config.authUrl, budget: config.budgetUrl },
    secret: serviceSecret,
    timeoutMs: RPC_TIMEOUT_MS,
  });
  const host = new RpcServices();
  const eventLog = openEventLog({
    service: 'metering',
    runtime,
    database,
    kafka: config,
  });
  const usageStore = new ClickHouseUsageStore(engine);
  const ledgerUpkeep = new ClickHouseLedgerUpkeep(engine);
  const { databaseUrl, lingerMs, redisUrl } = config;
  const jobs = await openJobs({ redisUrl, databaseUrl, runtime });
  const options: MeteringOptions = {
    runtime,
    rpc,
    host,
    eventLog,
    database,
    jobs,
    usageStore,
    ledgerUpkeep,
    adminApiKey: config.adminApiKey,
    lingerMs,
  };
  return {
    runtime,
    config,
    needs: [neededClickHouse(engine)],
    module: MeteringModule.register(options),
    operational: { serviceName: 'metering', adminApiKey: config.adminApiKey, metricsToken },
    routes: (fastify) => registerRpcRoutes(fastify, host, serviceSecret),
    connect: (app) => meteringConsumer(app, options),
    close: [
      () => jobs.close(),
      () => eventLog.close(),
      () => ledgerUpkeep.close(),
      () => usageStore.close(),
      () => rpc.close(),
      () => database.close(),
    ],
  };
}
