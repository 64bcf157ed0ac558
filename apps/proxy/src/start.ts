import { openEventLog } from '#libs/event-log/adapters';
import { readPeppers, type Peppers } from '#libs/keys/core';
import {
  ConfigError,
  loadConfig,
  processEnvironment,
  type Environment,
} from '#libs/platform/config';
import { runService, type ServiceProcess } from '#libs/platform/http';
import { Database } from '#libs/platform/postgres';
import { HttpRpcTransport } from '#libs/platform/rpc';
import { createRuntime, type Runtime } from '#libs/platform/telemetry';
import { UndiciTransport } from '#libs/providers/adapters';
import type { SqliteSpool } from '#libs/spool/adapters';

import { openProxySpool } from './open-proxy-spool.js';
import { proxyConsumer } from './proxy-consumer.js';
import { ProxyLifecycle } from './proxy-lifecycle.js';
import type { ProxyOptions } from './proxy-options.js';
import { ProxyConfig } from './proxy.config.js';
import { ProxyModule } from './proxy.module.js';
import { SpoolEnd } from './spool-end.js';

/** Longest time a call to another service may take, milliseconds. */
const RPC_TIMEOUT_MS = 5_000;
/** The exit code when another process has the spool. */
const EXIT_SPOOL_IN_USE = 3;

/** Runs the proxy as a process of its own. Beside the common exit codes: 3 the spool is in use. */
export function run(): Promise<void> {
  const environment = processEnvironment();
  return runService(
    'proxy',
    () =>
      proxyProcess(
        loadConfig(ProxyConfig, environment, { ownPrefixes: ['SPOOL_', 'PROXY_'] }),
        environment,
      ),
    { 'spool.in_use': EXIT_SPOOL_IN_USE },
  );
}

async function proxyProcess(
  config: ProxyConfig,
  environment: Environment,
): Promise<ServiceProcess> {
  const peppers = peppersOf(config);
  const { logLevel, logPartitions: partitions, adminApiKey, metricsToken } = config;
  const runtime = createRuntime({ service: 'proxy', partitions, logLevel });
  const { logger } = runtime;
  const spoolEnd = new SpoolEnd(logger, (code) => process.exit(code));
  const spool = await openSpool(config, environment, runtime, spoolEnd);
  const database = new Database({
    url: config.databaseUrl,
    schema: 'proxy',
    applicationName: 'tollgate-proxy',
    onIdleError: (error) => logger.warn({ reason: error.message }, 'a connection broke'),
  });
  const rpc = new HttpRpcTransport({
    baseUrls: { auth: config.authUrl, budget: config.budgetUrl },
    secret: config.serviceSecret,
    timeoutMs: RPC_TIMEOUT_MS,
  });
  const eventLog = openEventLog({
    service: 'proxy',
    runtime,
    database,
    kafka: config,
  });
  const transport = new UndiciTransport({ connections: config.upstreamConnections });
  let listeningAt = '';
  const options: ProxyOptions = {
    runtime,
    rpc,
    eventLog,
    spool,
    transport,
    peppers,
    adminApiKey,
    credentialOf: (variable) => environment[variable] || null,
    publicUrl: () => config.publicUrl ?? listeningAt,
    drainMs: config.drainSeconds * 1_000,
  };
  return {
    runtime,
    config,
    module: ProxyModule.register(options),
    operational: { serviceName: 'llm-gateway', adminApiKey, metricsToken },
    connect: (app) => proxyConsumer(app, options),
    ready: (app) => {
      const lifecycle = app.get(ProxyLifecycle);
      spoolEnd.watch(lifecycle);
      return lifecycle.ready();
    },
    listening: (url) => {
      listeningAt = url;
    },
    close: [
      () => transport.close(),
      () => spool.close(),
      () => eventLog.close(),
      () => rpc.close(),
      () => database.close(),
    ],
  };
}

/** @throws ConfigError with every fault of the peppers */
function peppersOf(config: ProxyConfig): Peppers {
  const { peppers, faults } = readPeppers(config.keyPeppers);
  if (peppers === null) throw new ConfigError(faults.map((fault) => `KEY_PEPPERS ${fault}`));
  return peppers;
}

function openSpool(
  config: ProxyConfig,
  environment: Environment,
  runtime: Runtime,
  end: SpoolEnd,
): Promise<SqliteSpool> {
  return openProxySpool({
    directory: config.spoolDir,
    ack: config.spoolAck,
    capBytes: config.spoolCapBytes,
    keepAckedMs: config.spoolKeepHours * 3_600_000,
    keepAckedBytes: config.spoolKeepBytes,
    runtime,
    environment,
    onFatal: end.onFatal,
  });
}
