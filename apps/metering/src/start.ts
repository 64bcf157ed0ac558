import type { FastifyInstance } from 'fastify';

import { PostgresEventLog } from '#libs/event-log/adapters';
import { messageOf } from '#libs/kernel';
import { ClickHouseEngine } from '#libs/platform/clickhouse';
import { ConfigError, EXIT_CONFIG, loadConfig, processEnvironment } from '#libs/platform/config';
import { createHttpApp } from '#libs/platform/http';
import { Database } from '#libs/platform/postgres';
import { HttpRpcTransport, registerRpcRoutes, RpcServices } from '#libs/platform/rpc';
import { createRuntime } from '#libs/platform/telemetry';
import { ClickHouseUsageStore } from '#libs/usage/adapters';

import { meteringConsumer } from './metering-consumer.js';
import { MeteringConfig } from './metering.config.js';
import { MeteringModule } from './metering.module.js';
import type { MeteringOptions } from './metering-options.js';

/** Longest time a call to another service may take, milliseconds. */
const RPC_TIMEOUT_MS = 5_000;
/** Each partition may hold a transaction while the log and the relay hold one each. */
const MAX_CONNECTIONS = 20;

/**
 * Runs metering as a process of its own until SIGINT or SIGTERM. The schema of PostgreSQL is
 * brought up to date by the deployment's migration, not here.
 * Exit codes: 0 stopped, 1 an engine cannot be had, 2 faulty configuration.
 */
export async function run(): Promise<void> {
  try {
    const config = loadConfig(MeteringConfig, processEnvironment(), { ownPrefixes: ['METERING_'] });
    const stop = await startMetering(config);
    process.once('SIGINT', () => void stop());
    process.once('SIGTERM', () => void stop());
  } catch (error) {
    process.stderr.write(`metering: ${messageOf(error)}\n`);
    process.exit(error instanceof ConfigError ? EXIT_CONFIG : 1);
  }
}

/** @returns a function that finishes the batches in hand and stops the process's work */
async function startMetering(config: MeteringConfig): Promise<() => Promise<void>> {
  const { logLevel, logPartitions: partitions } = config;
  const runtime = createRuntime({ service: 'metering', partitions, logLevel });
  const database = new Database({
    url: config.databaseUrl,
    schema: 'metering',
    applicationName: 'tollgate-metering',
    maxConnections: MAX_CONNECTIONS,
    onIdleError: (error) => runtime.logger.warn({ reason: error.message }, 'a connection broke'),
  });
  const { clock, random } = runtime;
  const engine = new ClickHouseEngine({ target: { kind: 'server', url: config.clickhouseUrl } });
  const rpc = new HttpRpcTransport({
    baseUrls: { auth: config.authUrl },
    secret: config.serviceSecret,
    timeoutMs: RPC_TIMEOUT_MS,
  });
  const host = new RpcServices();
  const options: MeteringOptions = {
    runtime,
    rpc,
    host,
    eventLog: new PostgresEventLog({ database, clock, random }),
    database,
    usageStore: new ClickHouseUsageStore(engine),
    lingerMs: config.lingerMs,
  };
  const app = await createHttpApp(MeteringModule.register(options), runtime, {
    serviceName: 'metering',
    adminApiKey: null,
    metricsToken: config.metricsToken,
  });
  const fastify = app.getHttpAdapter().getInstance() as unknown as FastifyInstance;
  registerRpcRoutes(fastify, host, config.serviceSecret);
  const consumer = meteringConsumer(app, options);
  await app.init();
  await app.startAllMicroservices();
  await app.listen(config.port, config.host);
  process.stdout.write(`metering listening on ${await app.getUrl()}\n`);
  return async () => {
    runtime.health.drain();
    await consumer.close();
    await app.close();
    await options.eventLog.close();
    await options.usageStore.close();
    await rpc.close();
    await database.close();
  };
}
