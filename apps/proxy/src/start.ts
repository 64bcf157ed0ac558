import { openEventLog } from '#libs/event-log/adapters';
import { messageOf } from '#libs/kernel';
import { readPeppers } from '#libs/keys/core';
import {
  ConfigError,
  EXIT_CONFIG,
  loadConfig,
  processEnvironment,
  type Environment,
} from '#libs/platform/config';
import { createHttpApp } from '#libs/platform/http';
import { Database } from '#libs/platform/postgres';
import { HttpRpcTransport } from '#libs/platform/rpc';
import { createRuntime } from '#libs/platform/telemetry';
import { UndiciTransport } from '#libs/providers/adapters';
import { SqliteSpool } from '#libs/spool/adapters';

import { proxyConsumer } from './proxy-consumer.js';
import type { ProxyOptions } from './proxy-options.js';
import { ProxyConfig } from './proxy.config.js';
import { ProxyModule } from './proxy.module.js';

/** Longest time a call to another service may take, milliseconds. */
const RPC_TIMEOUT_MS = 5_000;
/** The exit code when another process has the spool. */
const EXIT_SPOOL_IN_USE = 3;

/**
 * Runs the proxy as a process of its own until SIGINT or SIGTERM.
 * Exit codes: 0 stopped, 1 an engine cannot be had, 2 faulty configuration, 3 the spool is in use.
 */
export async function run(): Promise<void> {
  try {
    const environment = processEnvironment();
    const config = loadConfig(ProxyConfig, environment, { ownPrefixes: ['SPOOL_', 'PROXY_'] });
    const stop = await startProxy(config, environment);
    process.once('SIGINT', () => void stop());
    process.once('SIGTERM', () => void stop());
  } catch (error) {
    process.stderr.write(`proxy: ${messageOf(error)}\n`);
    process.exit(exitCodeOf(error));
  }
}

function exitCodeOf(error: unknown): number {
  if (error instanceof ConfigError) return EXIT_CONFIG;
  const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined;
  return code === 'spool.in_use' ? EXIT_SPOOL_IN_USE : 1;
}

/** @returns a function that ends what is in flight and stops the process's work */
async function startProxy(
  config: ProxyConfig,
  environment: Environment,
): Promise<() => Promise<void>> {
  const { peppers, faults } = readPeppers(config.keyPeppers);
  if (peppers === null) throw new ConfigError(faults.map((fault) => `KEY_PEPPERS ${fault}`));
  const { logLevel, logPartitions: partitions } = config;
  const runtime = createRuntime({ service: 'proxy', partitions, logLevel });
  const { clock, random, logger } = runtime;
  const spool = await SqliteSpool.open({
    directory: config.spoolDir,
    ack: config.spoolAck,
    clock,
    random,
    logger,
  });
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
  let listeningAt = '';
  const options: ProxyOptions = {
    runtime,
    rpc,
    eventLog: openEventLog({
      service: 'proxy',
      runtime,
      database,
      kafkaBrokers: config.kafkaBrokers,
    }),
    spool,
    transport: new UndiciTransport(),
    peppers,
    adminApiKey: config.adminApiKey,
    credentialOf: (variable) => environment[variable] || null,
    publicUrl: () => config.publicUrl ?? listeningAt,
    drainMs: config.drainSeconds * 1_000,
  };
  const app = await createHttpApp(ProxyModule.register(options), runtime, {
    serviceName: 'llm-gateway',
    adminApiKey: config.adminApiKey,
    metricsToken: config.metricsToken,
  });
  const consumer = proxyConsumer(app, options);
  await app.init();
  await app.startAllMicroservices();
  await app.listen(config.port, config.host);
  listeningAt = await app.getUrl();
  process.stdout.write(`proxy listening on ${listeningAt}\n`);
  return async () => {
    runtime.health.drain();
    await consumer.close();
    await app.close();
    await options.transport.close();
    await spool.close();
    await options.eventLog.close();
    await rpc.close();
    await database.close();
  };
}
