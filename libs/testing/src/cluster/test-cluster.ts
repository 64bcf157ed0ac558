import { chmodSync, cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { watchOver } from '../engine-process.js';
import { TcpFaultProxy } from '../tcp-fault-proxy.js';
import { startTestKafka, type TestKafka } from '../test-kafka.js';
import { startTestRedis, type TestRedis } from '../test-redis.js';
import { ClusterApi } from './cluster-api.js';
import { writeCatalog, type ClusterModel } from './cluster-catalog.js';
import { ClusterClickHouse } from './cluster-clickhouse.js';
import { ClusterDisk, clusterFolderPrefix, sweepClusters } from './cluster-disk.js';
import { ClusterPostgres } from './cluster-postgres.js';
import { ClusterProcess } from './cluster-process.js';
import { entryOf, ServiceFactory, ServicePorts, type ClusterService } from './cluster-services.js';

/** The operator secret of every cluster under test. */
export const CLUSTER_OPERATOR = 'operator-secret-of-the-cluster';

/** How a cluster is laid out. */
export interface TestClusterOptions {
  readonly models: readonly ClusterModel[];
  /** Partitions of the event log. @default 4 */
  readonly logPartitions?: number;
  /** Metering processes. @default 1 */
  readonly metering?: number;
  /** Whether the cluster's faults need engines that nobody else uses. @default false */
  readonly isOwn?: boolean;
  /** Added to the environment of every service. @default nothing */
  readonly extraEnv?: Readonly<Record<string, string>>;
  /** Gives spool, Kafka and ClickHouse disks of their own that a test can fill. @default false */
  readonly hasDisks?: boolean;
}

/** The engines, open. */
interface ClusterEngines {
  readonly kafka: TestKafka;
  readonly redis: TestRedis;
  readonly postgres: ClusterPostgres;
  readonly clickhouse: ClusterClickHouse;
  readonly disks: ClusterDisks | null;
}

/** Disks that can be filled. */
interface ClusterDisks {
  readonly spool: ClusterDisk;
  readonly kafka: ClusterDisk;
  readonly clickhouse: ClusterDisk;
}

/**
 * The whole distributed product as real processes on loopback: Apache Kafka, PostgreSQL, Redis,
 * ClickHouse over HTTP, the services, and the simulator as their upstream. PostgreSQL, ClickHouse and
 * the upstream are reached through fault proxies, Kafka too when the cluster has its own.
 */
export class TestCluster {
  readonly api: ClusterApi;
  /** Every service by its instance name: `auth`, `proxy`, `metering`, `metering-2`, ... */
  readonly services: Map<string, ClusterProcess>;

  private constructor(
    /** Everything of the cluster lies here: logs, spools, data, failpoint records. */
    readonly directory: string,
    readonly engines: ClusterEngines,
    readonly simulator: ClusterProcess,
    /** What requests to the upstream pass through. */
    readonly upstreamFaults: TcpFaultProxy,
    private readonly ports: ServicePorts,
    private readonly factory: ServiceFactory,
    instances: readonly (readonly [ClusterService, string])[],
    private readonly callOff: () => void,
  ) {
    const urls = { auth: ports.urlOf('auth'), reporting: ports.urlOf('reporting') };
    this.api = new ClusterApi(urls, CLUSTER_OPERATOR);
    this.services = new Map(
      instances.map(([service, name]) => [name, factory.process(service, name)]),
    );
  }

  /** Starts engines, migrates, starts the services; resolves when all of them serve. */
  static async start(options: TestClusterOptions): Promise<TestCluster> {
    sweepClusters(tmpdir());
    const directory = mkdtempSync(join(tmpdir(), clusterFolderPrefix()));
    // As root the database runs as another user, who must be able to pass through.
    chmodSync(directory, 0o711);
    const callOff = watchOver(directory);
    const engines = await startEngines(directory, options);
    const instances = instancesOf(options.metering ?? 1);
    const names = instances.map(([, name]) => name);
    const ports = await ServicePorts.choose([...names, 'simulator', SPARE_METERING, SECOND_PROXY]);
    const simulator = simulatorOf(directory, ports);
    const upstreamFaults = await TcpFaultProxy.open({ targetPort: ports.portOf('simulator') });
    const { models, logPartitions = 4, extraEnv = {} } = options;
    const catalog = writeCatalog(directory, models);
    const { kafka, redis, postgres, clickhouse } = engines;
    const settings = {
      directory,
      operatorSecret: CLUSTER_OPERATOR,
      databaseUrl: postgres.url,
      clickhouseUrl: clickhouse.url,
      kafkaBrokers: kafka.addresses,
      redisUrl: redis.url,
      simulatorUrl: `http://127.0.0.1:${upstreamFaults.port}`,
      logPartitions,
      catalog,
      extraEnv: { KAFKA_SESSION_MS: '2000', ...extraEnv },
    };
    const factory = new ServiceFactory(settings, ports);
    const cluster = new TestCluster(
      directory,
      engines,
      simulator,
      upstreamFaults,
      ports,
      factory,
      instances,
      callOff,
    );
    try {
      await migrate(directory, settings.databaseUrl, logPartitions);
      await simulator.start();
      await cluster.startServices();
    } catch (error) {
      await cluster.destroy();
      throw error;
    }
    return cluster;
  }

  /** Where callers of the data plane go. */
  get proxyUrl(): string {
    return this.ports.urlOf('proxy');
  }

  /** The address of a service for health and metrics. */
  urlOf(instance: string): string {
    return this.ports.urlOf(instance);
  }

  /** The simulator's own log of attempts and bills. */
  get simulatorLog(): string {
    return join(this.directory, SIMULATOR_LOG);
  }

  /** A service by its instance name. */
  service(instance: string): ClusterProcess {
    const found = this.services.get(instance);
    if (found === undefined) throw new Error(`the cluster has no ${instance}`);
    return found;
  }

  /** One more metering process, not yet started; at most one at a time. */
  spareMetering(): ClusterProcess {
    return this.factory.process('metering', SPARE_METERING);
  }

  /** A second proxy on the spool of the first, not yet started. */
  secondProxy(): ClusterProcess {
    const spool = { SPOOL_DIR: join(this.directory, 'spool-proxy') };
    return this.factory.process('proxy', SECOND_PROXY, spool);
  }

  /** Ends a service and starts it again. */
  async restart(
    instance: string,
    signal: NodeJS.Signals = 'SIGKILL',
    env: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    await this.service(instance).end(signal);
    await this.service(instance).start(env);
  }

  /** What services printed on standard output beside the line that says they serve, by service. */
  unexpectedOutput(): Readonly<Record<string, string>> {
    const all = [...this.services.values(), this.simulator];
    const loud = all.filter((process) => process.unexpectedOutput !== '');
    return Object.fromEntries(loud.map((process) => [process.name, process.unexpectedOutput]));
  }

  /**
   * Ends everything.
   * @param options keep: logs and data stay
   * @returns where they are kept, null when they are not
   */
  async destroy(options: { readonly keep?: boolean } = {}): Promise<string | null> {
    const { kafka, redis, postgres, clickhouse } = this.engines;
    for (const process of this.services.values()) process.thaw();
    await Promise.all([...this.services.values()].map((process) => process.end('SIGKILL')));
    await this.simulator.end('SIGKILL');
    await Promise.all([kafka.stop(), redis.stop(), postgres.stop(), clickhouse.stop()]);
    await this.upstreamFaults.close();
    const disks = Object.values(this.engines.disks ?? {});
    this.callOff();
    if (options.keep !== true) {
      for (const disk of disks) disk.close();
      rmSync(this.directory, { recursive: true, force: true });
      return null;
    }
    const kept = `${this.directory}-kept`.replace('tollgate-cluster-', 'tollgate-kept-');
    cpSync(this.directory, kept, { recursive: true });
    for (const disk of disks) disk.close();
    rmSync(this.directory, { recursive: true, force: true });
    return kept;
  }

  private async startServices(): Promise<void> {
    // Nobody waits for another one: each serves while those it needs come up.
    await Promise.all([...this.services.values()].map((process) => process.start()));
  }
}

const SIMULATOR_LOG = 'simulator.jsonl';
const SPARE_METERING = 'metering-spare';
const SECOND_PROXY = 'proxy-second';
const SPOOL_DISK_MIB = 96;
const KAFKA_DISK_MIB = 384;
const CLICKHOUSE_DISK_MIB = 512;

function instancesOf(metering: number): (readonly [ClusterService, string])[] {
  const copies = Array.from({ length: metering }, (_, index) =>
    index === 0 ? 'metering' : `metering-${index + 1}`,
  );
  return [
    ['auth', 'auth'],
    ['budget-enforcer', 'budget-enforcer'],
    ...copies.map((name) => ['metering', name] as const),
    ['reporting', 'reporting'],
    ['proxy', 'proxy'],
  ];
}

async function startEngines(
  directory: string,
  options: TestClusterOptions,
): Promise<ClusterEngines> {
  const isOwn = options.isOwn === true;
  const disks = options.hasDisks === true ? openDisks(directory) : null;
  const [kafka, redis, postgres, clickhouse] = await Promise.all([
    below(disks?.kafka, () => startTestKafka({ brokers: 1, isOwn, isProxied: isOwn })),
    startTestRedis({ isOwn }),
    ClusterPostgres.start(join(directory, 'postgres')),
    below(disks?.clickhouse, () => ClusterClickHouse.start(isOwn)),
  ]);
  return { kafka, redis, postgres, clickhouse, disks };
}

function openDisks(directory: string): ClusterDisks {
  return {
    spool: ClusterDisk.open(join(directory, 'spool-proxy'), SPOOL_DISK_MIB),
    kafka: ClusterDisk.open(join(directory, 'kafka'), KAFKA_DISK_MIB),
    clickhouse: ClusterDisk.open(join(directory, 'clickhouse'), CLICKHOUSE_DISK_MIB),
  };
}

let tmpdirTaken: Promise<unknown> = Promise.resolve();

/** Starts an engine with its folder on a disk; one after the other, because the process has one `TMPDIR`. */
function below<T>(disk: ClusterDisk | undefined, start: () => Promise<T>): Promise<T> {
  if (disk === undefined) return start();
  const started = tmpdirTaken.then(async () => {
    const { TMPDIR } = process.env;
    process.env['TMPDIR'] = disk.path;
    try {
      return await start();
    } finally {
      if (TMPDIR === undefined) delete process.env['TMPDIR'];
      else process.env['TMPDIR'] = TMPDIR;
    }
  });
  tmpdirTaken = started.catch(() => undefined);
  return started;
}

function simulatorOf(directory: string, ports: ServicePorts): ClusterProcess {
  return new ClusterProcess({
    name: 'simulator',
    entry: entryOf('simulator'),
    directory,
    ready: /^simulator listening on /m,
    env: {
      NODE_ENV: 'test',
      SIMULATOR_PORT: String(ports.portOf('simulator')),
      SIMULATOR_LOG_FILE: join(directory, SIMULATOR_LOG),
    },
  });
}

async function migrate(
  directory: string,
  databaseUrl: string,
  logPartitions: number,
): Promise<void> {
  const migration = new ClusterProcess({
    name: 'migrate',
    entry: entryOf('standalone', 'migrate.main'),
    directory,
    ready: /^the database is up to date$/m,
    env: { DATABASE_URL: databaseUrl, LOG_PARTITIONS: String(logPartitions) },
  });
  await migration.start();
  await migration.untilEnd();
}
