import { Module, type DynamicModule } from '@nestjs/common';

import { authConsumer, AuthModule, ORGANISATION_ID, type AuthOptions } from '#apps/auth';
import {
  budgetEnforcerConsumer,
  BudgetEnforcerModule,
  type BudgetEnforcerOptions,
} from '#apps/budget-enforcer';
import { meteringConsumer, MeteringModule, type MeteringOptions } from '#apps/metering';
import { proxyConsumer, ProxyLifecycle, ProxyModule, type ProxyOptions } from '#apps/proxy';
import { ReportingModule, type ReportingOptions } from '#apps/reporting';
import { parsePeppers, type ServedCatalog } from '#libs/keys/core';
import type { Environment } from '#libs/platform/config';
import { createHttpApp } from '#libs/platform/http';
import { LocalRpc } from '#libs/platform/rpc';
import type { Runtime } from '#libs/platform/telemetry';

import type { Engines } from './engines.js';
import type { Secrets } from './secrets.js';
import type { StandaloneConfig } from './standalone.config.js';

/** How long a batch may wait for more records, milliseconds; one writer, so short batches are cheap. */
const METERING_LINGER_MS = 100;

/** How long rated batches wait behind a missing one before it is asked for, milliseconds. */
const RATED_REPLAY_AFTER_MS = 30_000;

/** What the five services are built from. */
export interface ServicesInput {
  readonly config: StandaloneConfig;
  readonly secrets: Secrets;
  readonly runtime: Runtime;
  readonly engines: Engines;
  readonly catalog: ServedCatalog;
  readonly priceSheetsDir: string;
  /** Holds the credentials of providers under the names that the catalogue gives. */
  readonly environment: Environment;
  /** Whether `X-User-ID` is believed without a credential. */
  readonly trustUserIdHeader: boolean;
}

/** The services of a process. */
export interface Services {
  /** Starts everything and listens once the spool's recovery is done. @returns the address */
  listen(): Promise<string>;
  /** Stops consuming, finishes what is in hand, closes the application. */
  close(): Promise<void>;
}

/** The options of the five services. */
interface ServiceOptions {
  readonly auth: AuthOptions;
  readonly budget: BudgetEnforcerOptions;
  readonly metering: MeteringOptions;
  readonly reporting: ReportingOptions;
  readonly proxy: ProxyOptions;
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
  const { runtime, config, secrets } = input;
  let publicUrl = '';
  const { auth, budget, metering, reporting, proxy } = optionsOf(input, () => publicUrl);
  const module = StandaloneModule.register([
    AuthModule.register(auth),
    BudgetEnforcerModule.register(budget),
    MeteringModule.register(metering),
    ReportingModule.register(reporting),
    ProxyModule.register(proxy),
  ]);
  const app = await createHttpApp(module, runtime, {
    serviceName: 'llm-gateway',
    adminApiKey: secrets.ADMIN_API_KEY,
    metricsToken: config.metricsToken,
  });
  const consumers = [
    authConsumer(app, auth),
    budgetEnforcerConsumer(app, budget),
    meteringConsumer(app, metering),
    proxyConsumer(app, proxy),
  ];
  const listen = async (): Promise<string> => {
    await app.init();
    await app.startAllMicroservices();
    const lifecycle = app.get(ProxyLifecycle, { strict: false });
    input.engines.spoolEnd.watch(lifecycle);
    await lifecycle.ready();
    await app.listen(config.port, config.host);
    publicUrl = await app.getUrl();
    return publicUrl;
  };
  const close = async (): Promise<void> => {
    runtime.health.drain();
    await app.close();
    await Promise.all(consumers.map((consumer) => consumer.close()));
  };
  return { listen, close };
}

/** What each service is given. @param publicUrl the address, once it is known */
function optionsOf(input: ServicesInput, publicUrl: () => string): ServiceOptions {
  const { runtime, config, secrets, engines, catalog, environment, priceSheetsDir } = input;
  const rpc = new LocalRpc();
  const { eventLog, jobs } = engines;
  const shared = { runtime, rpc, host: rpc, eventLog };
  const peppers = parsePeppers(secrets.KEY_PEPPERS);
  const access = { peppers, adminApiKey: secrets.ADMIN_API_KEY };
  const { databases, databaseUrl, usageStore, usageReader, spool, transport } = engines;
  return {
    auth: {
      ...shared,
      ...access,
      database: databases.auth,
      databaseUrl,
      trustUserIdHeader: input.trustUserIdHeader,
      trustedProxySecret: null,
      createDefaultTeam: true,
      catalog,
      priceSheetsDir,
    },
    budget: {
      ...shared,
      database: databases.budget,
      jobs,
      replayAfterMs: RATED_REPLAY_AFTER_MS,
    },
    metering: {
      ...shared,
      database: databases.metering,
      jobs,
      usageStore,
      ledgerUpkeep: engines.ledgerUpkeep,
      adminApiKey: access.adminApiKey,
      lingerMs: METERING_LINGER_MS,
    },
    reporting: { ...shared, ...access, reader: usageReader, orgId: ORGANISATION_ID },
    proxy: {
      ...shared,
      ...access,
      spool,
      transport,
      credentialOf: (variable) => environment[variable] || null,
      publicUrl,
      drainMs: config.drainSeconds * 1_000,
    },
  };
}
