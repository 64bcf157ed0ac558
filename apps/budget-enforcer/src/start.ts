import { openEventLog } from '#libs/event-log/adapters';
import { openJobs } from '#libs/jobs/adapters';
import { loadConfig, processEnvironment } from '#libs/platform/config';
import { runService, type ServiceProcess } from '#libs/platform/http';
import { Database } from '#libs/platform/postgres';
import { HttpRpcTransport, registerRpcRoutes, RpcServices } from '#libs/platform/rpc';
import { createRuntime } from '#libs/platform/telemetry';

import { BudgetEnforcerConfig } from './budget-enforcer.config.js';
import { budgetEnforcerConsumer } from './budget-enforcer.consumer.js';
import { BudgetEnforcerModule } from './budget-enforcer.module.js';

/** Consumers of a dozen partitions, the batcher, the relay, the log's member and the reconciler. */
const MAX_CONNECTIONS = 20;
/** Longest call to metering, milliseconds: it looks for the messages before it answers. */
const RPC_TIMEOUT_MS = 10_000;

/** Runs the budget guard as a process of its own. */
export function run(): Promise<void> {
  return runService('budget-enforcer', () =>
    budgetProcess(
      loadConfig(BudgetEnforcerConfig, processEnvironment(), {
        ownPrefixes: ['BUDGET_'],
        alsoKnown: ['BUDGET_URL'],
      }),
    ),
  );
}

async function budgetProcess(config: BudgetEnforcerConfig): Promise<ServiceProcess> {
  const { databaseUrl, logLevel, logPartitions: partitions, metricsToken, serviceSecret } = config;
  const runtime = createRuntime({ service: 'budget-enforcer', partitions, logLevel });
  const database = new Database({
    url: databaseUrl,
    schema: 'budget',
    applicationName: 'tollgate-budget-enforcer',
    maxConnections: MAX_CONNECTIONS,
    onIdleError: (error) => runtime.logger.warn({ reason: error.message }, 'a connection broke'),
  });
  const eventLog = openEventLog({
    service: 'budget-enforcer',
    runtime,
    database,
    kafka: config,
  });
  const jobs = await openJobs({ redisUrl: config.redisUrl, databaseUrl, runtime });
  const rpc = new HttpRpcTransport({
    baseUrls: { metering: config.meteringUrl },
    secret: serviceSecret,
    timeoutMs: RPC_TIMEOUT_MS,
  });
  const host = new RpcServices();
  const { replayAfterMs } = config;
  const options = { runtime, rpc, host, eventLog, database, jobs, replayAfterMs };
  return {
    runtime,
    config,
    module: BudgetEnforcerModule.register(options),
    operational: { serviceName: 'budget-enforcer', adminApiKey: null, metricsToken },
    routes: (fastify) => registerRpcRoutes(fastify, host, serviceSecret),
    connect: (app) => budgetEnforcerConsumer(app, options),
    close: [() => jobs.close(), () => eventLog.close(), () => rpc.close(), () => database.close()],
  };
}
