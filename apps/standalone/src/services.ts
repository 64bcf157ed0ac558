import { Module, type DynamicModule } from '@nestjs/common';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';

import { authConsumer, AuthModule, ORGANISATION_ID, type AuthOptions } from '#apps/auth';
import { budgetEnforcerConsumer, BudgetEnforcerModule } from '#apps/budget-enforcer';
import { meteringConsumer, MeteringModule, type MeteringOptions } from '#apps/metering';
import { proxyConsumer, ProxyModule, type ProxyOptions } from '#apps/proxy';
import { ReportingModule } from '#apps/reporting';
import { parsePeppers, type ServedCatalog } from '#libs/keys/core';
import { createHttpApp } from '#libs/platform/http';
import { LocalRpc } from '#libs/platform/rpc';
import type { Runtime } from '#libs/platform/telemetry';

import type { Engines } from './engines.js';
import type { Secrets } from './secrets.js';
import type { StandaloneConfig } from './standalone.config.js';

/** How long a batch may wait for more records, milliseconds; one writer, so short batches are cheap. */
const METERING_LINGER_MS = 100;

/** What the five services are built from. */
export interface ServicesInput {
  readonly config: StandaloneConfig;
  readonly secrets: Secrets;
  readonly runtime: Runtime;
  readonly engines: Engines;
  readonly catalog: ServedCatalog;
  readonly priceSheetsDir: string;
  readonly spoolDir: string;
  /** Credentials of providers by the name of their environment variable. */
  readonly credentials: Readonly<Record<string, string | undefined>>;
}

/** The services of a process. */
export interface Services {
  readonly app: NestFastifyApplication;
  /** Stops consuming, finishes what is in hand, closes the application. */
  close(): Promise<void>;
}

/** The five services as one module. */
@Module({})
class StandaloneModule {
  static register(parts: readonly DynamicModule[]): DynamicModule {
    return { module: StandaloneModule, imports: [...parts] };
  }
}

/**
 * Builds the five services in one application on one port; their ports to each other are direct
 * calls, their messages go through the event log as everywhere.
 */
export async function createServices(input: ServicesInput): Promise<Services> {
  const { runtime, config, secrets, engines } = input;
  const rpc = new LocalRpc();
  const shared = { runtime, rpc, host: rpc, eventLog: engines.eventLog };
  const adminApiKey = secrets.ADMIN_API_KEY;
  const peppers = parsePeppers(secrets.KEY_PEPPERS);
  const auth: AuthOptions = {
    ...shared,
    database: engines.databases.auth,
    databaseUrl: engines.databaseUrl,
    peppers,
    adminApiKey,
    trustUserIdHeader: config.trustUserIdHeader ?? isLoopback(config.host),
    trustedProxySecret: null,
    createDefaultTeam: true,
    catalog: input.catalog,
    priceSheetsDir: input.priceSheetsDir,
  };
  const metering: MeteringOptions = {
    ...shared,
    database: engines.databases.metering,
    usageStore: engines.usageStore,
    lingerMs: METERING_LINGER_MS,
  };
  const budget = { ...shared, database: engines.databases.budget };
  const proxy = proxyOptions(input, shared, adminApiKey, peppers);
  const module = StandaloneModule.register([
    AuthModule.register(auth),
    BudgetEnforcerModule.register(budget),
    MeteringModule.register(metering),
    ReportingModule.register({
      ...shared,
      reader: engines.usageReader,
      adminApiKey,
      orgId: ORGANISATION_ID,
      peppers,
    }),
    ProxyModule.register(proxy),
  ]);
  const app = await createHttpApp(module, runtime, {
    serviceName: 'llm-gateway',
    adminApiKey,
    metricsToken: config.metricsToken,
  });
  const consumers = [
    authConsumer(app, auth),
    budgetEnforcerConsumer(app, budget),
    meteringConsumer(app, metering),
    proxyConsumer(app, proxy),
  ];
  const close = async (): Promise<void> => {
    await app.close();
    await Promise.all(consumers.map((consumer) => consumer.close()));
  };
  return { app, close };
}

function proxyOptions(
  input: ServicesInput,
  shared: Pick<ProxyOptions, 'runtime' | 'rpc' | 'host' | 'eventLog'>,
  adminApiKey: string,
  peppers: ProxyOptions['peppers'],
): ProxyOptions {
  return {
    ...shared,
    peppers,
    adminApiKey,
    spoolDir: input.spoolDir,
    spoolAck: input.config.spoolAck,
    credentials: input.credentials,
    drainMs: input.config.drainSeconds * 1_000,
  };
}

/** Whether an address is reachable from this machine only. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}
