import { join } from 'node:path';

import { openEventLog } from '#libs/event-log/adapters';
import { ConfigError, loadConfig, processEnvironment, projectRoot } from '#libs/platform/config';
import { runService, type ServiceProcess } from '#libs/platform/http';
import { Database, neededPostgres } from '#libs/platform/postgres';
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
 * Runs the control plane as a process of its own. The schema of PostgreSQL is brought up to date by
 * the deployment's migration, not here. A faulty catalogue or a first start with faulty price sheets
 * ends it with exit code 2, as any faulty configuration does.
 */
export function run(): Promise<void> {
  return runService('auth', () => authProcess(loadConfig(AuthConfig, processEnvironment())));
}

async function authProcess(config: AuthConfig): Promise<ServiceProcess> {
  const { adminApiKey, metricsToken, serviceSecret } = config;
  const rpc = new HttpRpcTransport({
    baseUrls: { budget: config.budgetUrl, reporting: config.reportingUrl },
    secret: serviceSecret,
    timeoutMs: RPC_TIMEOUT_MS,
  });
  const host = new RpcServices();
  const options = await authOptions(config, rpc, host);
  return {
    runtime: options.runtime,
    config,
    needs: [neededPostgres(options.database)],
    module: AuthModule.register(options),
    operational: { serviceName: 'auth', adminApiKey, metricsToken },
    routes: (fastify) => registerRpcRoutes(fastify, host, serviceSecret),
    connect: (app) => authConsumer(app, options),
    close: [() => options.eventLog.close(), () => rpc.close(), () => options.database.close()],
  };
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
    eventLog: openEventLog({
      service: 'auth',
      runtime,
      database,
      kafka: config,
    }),
    priceSheetsDir: config.priceSheetsDir ?? join(projectRoot(), 'prices'),
  };
}
