import 'reflect-metadata';
import type { FastifyInstance } from 'fastify';

import { PostgresEventLog } from '#libs/event-log/adapters';
import { messageOf } from '#libs/kernel';
import { ConfigError, EXIT_CONFIG, loadConfig, processEnvironment } from '#libs/platform/config';
import { createHttpApp } from '#libs/platform/http';
import { Database } from '#libs/platform/postgres';
import { HttpRpcTransport, registerRpcRoutes, RpcServices } from '#libs/platform/rpc';
import { createRuntime } from '#libs/platform/telemetry';

import { BudgetEnforcerConfig } from './budget-enforcer.config.js';
import { budgetEnforcerConsumer } from './budget-enforcer.consumer.js';
import { BudgetEnforcerModule } from './budget-enforcer.module.js';

/** Consumers of a dozen partitions, the batcher, the relay, the log's member and the reconciler. */
const MAX_CONNECTIONS = 20;
/** This service calls no other; the bound is a formality. */
const RPC_TIMEOUT_MS = 2_000;

/**
 * Runs the budget guard until SIGINT or SIGTERM. Exit codes: 0 stopped, 1 could not start, 2 faulty
 * configuration.
 */
export async function run(): Promise<void> {
  try {
    const config = loadConfig(BudgetEnforcerConfig, processEnvironment());
    await serve(config);
  } catch (error) {
    process.stderr.write(`budget-enforcer: ${messageOf(error)}\n`);
    process.exitCode = error instanceof ConfigError ? EXIT_CONFIG : 1;
  }
}

async function serve(config: BudgetEnforcerConfig): Promise<void> {
  const { databaseUrl, logLevel, logPartitions, metricsToken, serviceSecret } = config;
  const runtime = createRuntime({
    service: 'budget-enforcer',
    partitions: logPartitions,
    logLevel,
  });
  const database = new Database({
    url: databaseUrl,
    schema: 'budget',
    applicationName: 'tollgate-budget-enforcer',
    maxConnections: MAX_CONNECTIONS,
    onIdleError: (error) => runtime.logger.warn({ reason: error.message }, 'connection lost'),
  });
  const { clock, random } = runtime;
  const eventLog = new PostgresEventLog({ database, clock, random });
  const rpc = new HttpRpcTransport({
    baseUrls: {},
    secret: serviceSecret,
    timeoutMs: RPC_TIMEOUT_MS,
  });
  const host = new RpcServices();
  const options = { runtime, rpc, host, eventLog, database };
  const app = await createHttpApp(BudgetEnforcerModule.register(options), runtime, {
    serviceName: 'budget-enforcer',
    adminApiKey: null,
    metricsToken,
  });
  const fastify = app.getHttpAdapter().getInstance() as unknown as FastifyInstance;
  registerRpcRoutes(fastify, host, serviceSecret);
  const consumer = budgetEnforcerConsumer(app, options);
  await app.startAllMicroservices();
  await app.listen(config.port, config.host);
  process.stdout.write(`budget-enforcer listening on ${await app.getUrl()}\n`);
  stopOnSignal(async () => {
    runtime.health.drain();
    await consumer.close();
    await app.close();
    await eventLog.close();
    await rpc.close();
    await database.close();
  });
}

function stopOnSignal(stop: () => Promise<void>): void {
  let stopping: Promise<void> | undefined;
  const onSignal = (): void => {
    stopping ??= stop().catch((error: unknown) => {
      process.stderr.write(`budget-enforcer: ${messageOf(error)}\n`);
      process.exitCode = 1;
    });
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
}
