import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { SystemClock, SystemRandom } from '#libs/kernel';
import { EmbeddedPostgres } from '#libs/platform/postgres';

import { TcpFaultProxy } from '../tcp-fault-proxy.js';

/** The port of a dead server may become anybody's; on this one nobody listens. */
const NOBODYS_PORT = 1;

/**
 * The PostgreSQL of a cluster: durable at commit, behind a fault proxy whose address stays when the
 * server dies and comes back on another port.
 */
export class ClusterPostgres {
  private gone: Promise<void> = Promise.resolve();

  private constructor(
    private readonly dataDir: string,
    private server: EmbeddedPostgres,
    /** What every connection passes through. */
    readonly faults: TcpFaultProxy,
  ) {}

  static async start(dataDir: string): Promise<ClusterPostgres> {
    mkdirSync(dataDir);
    // The server of a root's test runs as another user, who has to get in.
    chmodSync(dataDir, 0o711);
    const holder: { ended?: () => void } = {};
    const server = await open(dataDir, holder);
    const faults = await TcpFaultProxy.open({ targetPort: portOf(server) });
    const postgres = new ClusterPostgres(dataDir, server, faults);
    postgres.watch(holder);
    return postgres;
  }

  /** Login of the superuser, through the fault proxy. */
  get url(): string {
    const url = new URL(this.server.url);
    url.port = String(this.faults.port);
    return url.toString();
  }

  /** Login of the superuser past the fault proxy; changes with every start. */
  get directUrl(): string {
    return this.server.url;
  }

  /** Process id of the server. */
  get pid(): number {
    return this.server.pid;
  }

  /** Ends it as `kill -9` does and waits until it is gone. */
  async kill(): Promise<void> {
    process.kill(this.server.pid, 'SIGKILL');
    await this.gone;
    this.faults.leadTo(NOBODYS_PORT);
    this.faults.reset();
    await this.server.stop();
  }

  /** Starts it again on the same data; resolves when it answers. */
  async restart(): Promise<void> {
    const holder: { ended?: () => void } = {};
    this.server = await open(this.dataDir, holder);
    this.watch(holder);
    this.faults.leadTo(portOf(this.server));
  }

  async stop(): Promise<void> {
    await this.server.stop();
    await this.faults.close();
  }

  private watch(holder: { ended?: () => void }): void {
    this.gone = new Promise((resolve) => (holder.ended = resolve));
    writeFileSync(join(dirname(this.dataDir), 'postgres.pid'), String(this.server.pid));
  }
}

function open(dataDir: string, holder: { ended?: () => void }): Promise<EmbeddedPostgres> {
  return EmbeddedPostgres.start({
    dataDir,
    clock: new SystemClock(),
    random: new SystemRandom(),
    onUnexpectedExit: () => holder.ended?.(),
  });
}

function portOf(server: EmbeddedPostgres): number {
  return Number(new URL(server.url).port);
}
