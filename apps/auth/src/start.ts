import 'reflect-metadata';
import { join } from 'node:path';

import type { FastifyInstance } from 'fastify';

import { PostgresEventLog } from '#libs/event-log/adapters';
import { messageOf } from '#libs/kernel';
import {
  ConfigError,
  EXIT_CONFIG,
  loadConfig,
  processEnvironment,
  projectRoot,
} from '#libs/platform/config';
import { createHttpApp } from '#libs/platform/http';
import { Database } from '#libs/platform/postgres';
import { HttpRpcTransport, registerRpcRoutes, RpcServices } from '#libs/platform/rpc';
import { createRuntime } from '#libs/platform/telemetry';

import type { AuthOptions } from './auth-options.js';
import { AuthConfig, readAuthConfig } from './auth.config.js';
import { authConsumer } from './auth.consumer.js';
import { AuthModule } from './auth.module.js';
import { loadCatalog } from './catalog/load-catalog.js';

/** Longest time a call to another service may take, milliseconds. */
const RPC_TIMEOUT_MS = 5_000;

/**
 * Runs the control plane as a process of its own until SIGINT or SIGTERM. The schema of PostgreSQL
 * is brought up to date by the deployment's migration, not here.
 * Exit codes: 0 stopped, 1 an engine cannot be had, 2 faulty configuration, catalogue or prices.
 */
export async function run(): Promise<void> {
  try {
    await serve(loadConfig(AuthConfig, processEnvironment()));
  } catch (error) {
    process.stderr.write(`auth: ${messageOf(error)}\n`);
    process.exit(error instanceof ConfigError ? EXIT_CONFIG : 1);
  }
}

async function serve(config: AuthConfig): Promise<void> {
  const rpc = new HttpRpcTransport({
    baseUrls: { budget: config.budgetUrl, reporting: config.reportingUrl },
    secret: config.serviceSecret,
    timeoutMs: RPC_TIMEOUT_MS,
  });
  const host = new RpcServices();
  const options = await authOptions(config, rpc, host);
  const app = await createHttpApp(AuthModule.register(options), options.runtime, {
    serviceName: 'auth',
    adminApiKey: config.adminApiKey,
    metricsToken: config.metricsToken,
  });
  const fastify = app.getHttpAdapter().getInstance() as unknown as FastifyInstance;
  registerRpcRoutes(fastify, host, config.serviceSecret);
  const consumer = authConsumer(app, options);
  await app.init();
  await app.startAllMicroservices();
  await app.listen(config.port, config.host);
  process.stdout.write(`auth listening on ${await app.getUrl()}\n`);
  stopOnSignal(async () => {
    options.runtime.health.drain();
    await consumer.close();
    await app.close();
    await options.eventLog.close();
    await rpc.close();
    await options.database.close();
  });
}

/** @throws ConfigError with the faults of peppers and catalogue */
async function authOptions(
  config: AuthConfig,
  rpc: HttpRpcTransport,
  host: RpcServices,
): Promise<AuthOptions> {
  const { peppers, faults } = readAuthConfig(config);
  if (peppers === null) throw new ConfigError(faults);
  const catalog = await loadCatalog(config.catalogFile, { SIMULATOR_URL: config.simulatorUrl });
  const { logLevel, logPartitions: partitions, databaseUrl } = config;
  const runtime = createRuntime({ service: 'auth', partitions, logLevel });
  const database = new Database({
    url: databaseUrl,
    schema: 'auth',
    applicationName: 'tollgate-auth',
    onIdleError: (error) => runtime.logger.warn({ reason: error.message }, 'a connection broke'),
  });
  const { clock, random } = runtime;
  const { adminApiKey, trustUserIdHeader, trustedProxySecret, createDefaultTeam } = config;
  return {
    runtime,
    rpc,
    host,
    database,
    databaseUrl,
    peppers,
    catalog,
    adminApiKey,
    trustUserIdHeader,
    trustedProxySecret,
    createDefaultTeam,
    eventLog: new PostgresEventLog({
      database,
      clock,
      random,
    }),
    priceSheetsDir: config.priceSheetsDir ?? join(projectRoot(), 'prices'),
  };
}

function stopOnSignal(stop: () => Promise<void>): void {
  let stopping: Promise<void> | undefined;
  const onSignal = (): void => {
    stopping ??= stop().catch((error: unknown) => {
      process.stderr.write(`auth: ${messageOf(error)}\n`);
      process.exitCode = 1;
    });
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
}
