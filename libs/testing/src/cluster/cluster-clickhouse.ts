import { TcpFaultProxy } from '../tcp-fault-proxy.js';
import { startTestClickHouse, type TestClickHouse } from '../test-clickhouse.js';

/** The ClickHouse of a cluster, behind a fault proxy. */
export class ClusterClickHouse {
  private constructor(
    private readonly server: TestClickHouse,
    /** What every connection of a service passes through. */
    readonly faults: TcpFaultProxy,
  ) {}

  /** @param isOwn whether the cluster's faults need a server that nobody else uses */
  static async start(isOwn: boolean): Promise<ClusterClickHouse> {
    const server = await startTestClickHouse({ isOwn });
    const targetPort = Number(new URL(server.url).port || 8123);
    return new ClusterClickHouse(server, await TcpFaultProxy.open({ targetPort }));
  }

  /** The address that services are told. */
  get url(): string {
    const url = new URL(this.server.url);
    url.hostname = '127.0.0.1';
    url.port = String(this.faults.port);
    return url.toString().replace(/\/$/, '');
  }

  /** The address past the fault proxy. */
  get directUrl(): string {
    return this.server.url;
  }

  /** The process, for kills and stops. @throws Error when a server was given */
  get process(): NonNullable<TestClickHouse['process']> {
    const { process } = this.server;
    if (process === null) throw new Error('a server that was given cannot be killed');
    return process;
  }

  async stop(): Promise<void> {
    await this.server.stop();
    await this.faults.close();
  }
}
