import { join } from 'node:path';

import { projectRoot } from '#libs/platform/config';

import { TcpFaultProxy } from '../tcp-fault-proxy.js';
import { ClusterProcess } from './cluster-process.js';

/** The ClickHouse of a cluster, behind a fault proxy whose address stays. */
export class ClusterClickHouse {
  private constructor(
    /** Null when a server was given. */
    readonly process: ClusterProcess | null,
    private readonly target: string,
    /** What every connection passes through. */
    readonly faults: TcpFaultProxy,
  ) {}

  /** @param given URL of a server to use instead of the embedded engine in a process of its own */
  static async start(directory: string, given: string | undefined): Promise<ClusterClickHouse> {
    if (given !== undefined) {
      const port = Number(new URL(given).port || 8123);
      return new ClusterClickHouse(null, given, await TcpFaultProxy.open({ targetPort: port }));
    }
    const process = new ClusterProcess({
      name: 'clickhouse',
      entry: join(projectRoot(), 'dist/libs/testing/src/cluster/chdb-server.child.js'),
      directory,
      ready: /^clickhouse listening on http:\S+$/m,
      env: {},
    });
    await process.start();
    const target = process.readyText().split(' ').at(-1)!;
    const faults = await TcpFaultProxy.open({ targetPort: Number(new URL(target).port) });
    return new ClusterClickHouse(process, target, faults);
  }

  /** The address that services are told. */
  get url(): string {
    const url = new URL(this.target);
    url.hostname = '127.0.0.1';
    url.port = String(this.faults.port);
    return url.toString().replace(/\/$/, '');
  }

  /** The address past the fault proxy. */
  get directUrl(): string {
    return this.target;
  }

  async stop(): Promise<void> {
    await this.process?.end('SIGKILL');
    await this.faults.close();
  }
}
