import { randomBytes } from 'node:crypto';
import { join } from 'node:path';

import { projectRoot } from '#libs/platform/config';

import type { CatalogFiles } from './cluster-catalog.js';
import { ClusterProcess } from './cluster-process.js';
import { stablePorts } from '../stable-ports.js';

/** The services of the product that run as processes of their own. */
export const CLUSTER_SERVICES = [
  'auth',
  'budget-enforcer',
  'metering',
  'proxy',
  'reporting',
] as const;

/** The name of one of them. */
export type ClusterService = (typeof CLUSTER_SERVICES)[number];

/** What the services are told. */
export interface ServiceSettings {
  /** Folder of logs, process ids and spools. */
  readonly directory: string;
  readonly operatorSecret: string;
  readonly databaseUrl: string;
  readonly clickhouseUrl: string;
  readonly kafkaBrokers: readonly string[];
  readonly redisUrl: string;
  readonly simulatorUrl: string;
  readonly logPartitions: number;
  readonly catalog: CatalogFiles;
  /** Added to the environment of every service. */
  readonly extraEnv: Readonly<Record<string, string>>;
}

/** Where the services of a cluster listen; the ports stay for its life. */
export class ServicePorts {
  private constructor(private readonly ports: ReadonlyMap<string, number>) {}

  static async choose(names: readonly string[]): Promise<ServicePorts> {
    const ports = await stablePorts(names.length);
    return new ServicePorts(new Map(names.map((name, index) => [name, ports[index]!])));
  }

  portOf(name: string): number {
    const port = this.ports.get(name);
    if (port === undefined) throw new Error(`no port was chosen for ${name}`);
    return port;
  }

  urlOf(name: string): string {
    return `http://127.0.0.1:${this.portOf(name)}`;
  }
}

/** Compiled entry point of an app. */
export function entryOf(app: string, file = 'main'): string {
  return join(projectRoot(), 'dist', 'apps', app, 'src', `${file}.js`);
}

/** Makes the processes of services, with one set of secrets. */
export class ServiceFactory {
  private readonly serviceSecret = randomBytes(24).toString('hex');
  private readonly peppers = `v1:${randomBytes(32).toString('base64')}`;

  constructor(
    private readonly settings: ServiceSettings,
    private readonly ports: ServicePorts,
  ) {}

  /**
   * @param instance tells copies of one service apart, `<service>` or `<service>-<n>`
   * @param changed settings that differ from the service's own
   */
  process(
    service: ClusterService,
    instance: string = service,
    changed: Readonly<Record<string, string>> = {},
  ): ClusterProcess {
    const { directory, extraEnv } = this.settings;
    return new ClusterProcess({
      name: instance,
      entry: entryOf(service),
      directory,
      ready: new RegExp(`^${service} listening on `, 'm'),
      env: {
        ...this.shared(),
        ...this.own(service, instance),
        PORT: String(this.ports.portOf(instance)),
        FAILPOINTS_RECORD: join(directory, `${instance}.failpoints`),
        TEST_CLOCK_FILE: join(directory, `${instance}.clock`),
        ...extraEnv,
        ...changed,
      },
    });
  }

  private shared(): Record<string, string> {
    const { settings } = this;
    return {
      NODE_ENV: 'test',
      LOG_LEVEL: 'warn',
      SERVICE_SECRET: this.serviceSecret,
      LOG_PARTITIONS: String(settings.logPartitions),
      KAFKA_BROKERS: settings.kafkaBrokers.join(','),
      REDIS_URL: settings.redisUrl,
    };
  }

  private own(service: ClusterService, instance: string): Record<string, string> {
    const { databaseUrl, clickhouseUrl, simulatorUrl, operatorSecret, directory } = this.settings;
    const database = { DATABASE_URL: databaseUrl };
    const ledger = { CLICKHOUSE_URL: clickhouseUrl };
    const authUrl = { AUTH_URL: this.ports.urlOf('auth') };
    const budgetUrl = { BUDGET_URL: this.ports.urlOf('budget-enforcer') };
    const access = { KEY_PEPPERS: this.peppers, ADMIN_API_KEY: operatorSecret };
    const { catalogFile, priceSheetsDir } = this.settings.catalog;
    switch (service) {
      case 'auth':
        return {
          ...database,
          ...access,
          ...budgetUrl,
          REPORTING_URL: this.ports.urlOf('reporting'),
          SIMULATOR_URL: simulatorUrl,
          CATALOG_FILE: catalogFile,
          PRICE_SHEETS_DIR: priceSheetsDir,
        };
      case 'proxy':
        return {
          ...database,
          ...access,
          ...authUrl,
          ...budgetUrl,
          SPOOL_DIR: join(directory, `spool-${instance}`),
        };
      case 'metering':
        return { ...database, ...ledger, ...authUrl, ...budgetUrl, METERING_LINGER_MS: '50' };
      case 'budget-enforcer':
        return { ...database, METERING_URL: this.ports.urlOf('metering') };
      case 'reporting':
        return { ...ledger, ...access, ...authUrl, METERING_URL: this.ports.urlOf('metering') };
    }
  }
}
