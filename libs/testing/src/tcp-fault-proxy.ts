import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

import { SystemRandom, type Random } from '#libs/kernel';

/**
 * What goes wrong between a client and a server:
 * `refuse` ends connections as soon as they come, `hang` takes bytes from both sides and passes none
 * on, `cut` resets a connection after so many bytes of the client, `drop_replies` passes requests on
 * and, for a share of the replies, resets the connection instead of passing the reply back, `hold`
 * keeps the first request that it is meant for, and what follows it on its connection, until `release`:
 * the server gets them then, whether or not the client still waits.
 */
export type TcpFault =
  | { readonly kind: 'none' }
  | { readonly kind: 'refuse' }
  | { readonly kind: 'hang' }
  | { readonly kind: 'cut'; readonly afterBytes: number }
  | { readonly kind: 'drop_replies'; readonly share: number }
  | { readonly kind: 'hold'; readonly isMeant: (request: Buffer) => boolean };

/** Where the proxy leads. */
export interface TcpFaultProxyOptions {
  readonly targetPort: number;
  /** Decides which replies are dropped. @default the system's */
  readonly random?: Random;
}

interface Pair {
  readonly client: Socket;
  readonly server: Socket;
  /** Bytes of the client since the fault was set. */
  sentBytes: number;
}

/** A connection whose requests are kept. */
interface Held {
  readonly pair: Pair;
  readonly requests: Buffer[];
}

/** Stands between clients and a server on the loopback interface and breaks what a test wants broken. */
export class TcpFaultProxy {
  private fault: TcpFault = { kind: 'none' };
  private readonly pairs = new Set<Pair>();
  private dropped = 0;
  private held: Held | undefined;
  private targetPort: number;

  private constructor(
    private readonly listener: Server,
    private readonly options: Required<TcpFaultProxyOptions>,
  ) {
    this.targetPort = options.targetPort;
    listener.on('connection', (client) => this.accept(client));
  }

  /** Listens on a free port. */
  static async open(options: TcpFaultProxyOptions): Promise<TcpFaultProxy> {
    const listener = createServer({ noDelay: true });
    await new Promise<void>((resolve, reject) => {
      listener.once('error', reject);
      listener.listen(0, '127.0.0.1', resolve);
    });
    const { targetPort, random = new SystemRandom() } = options;
    return new TcpFaultProxy(listener, { targetPort, random });
  }

  get port(): number {
    return (this.listener.address() as AddressInfo).port;
  }

  /** How many replies were dropped so far. */
  get droppedReplies(): number {
    return this.dropped;
  }

  /** Bytes of requests that are held. */
  get heldBytes(): number {
    return this.held?.requests.reduce((sum, bytes) => sum + bytes.length, 0) ?? 0;
  }

  /** Breaks open and later connections in this way until the next call. */
  set(fault: TcpFault): void {
    this.fault = fault;
    for (const pair of this.pairs) pair.sentBytes = 0;
    if (fault.kind === 'refuse') this.reset();
    if (fault.kind === 'none') this.reset();
  }

  /** Gives the server what was held, and the orderly end of a client that has gone. */
  release(): void {
    const { held } = this;
    if (held === undefined) return;
    this.held = undefined;
    this.fault = { kind: 'none' };
    for (const bytes of held.requests) held.pair.server.write(bytes);
    if (!this.pairs.has(held.pair)) held.pair.server.end();
  }

  /** Leads later connections to another port, for a server that comes back elsewhere. */
  leadTo(port: number): void {
    this.targetPort = port;
  }

  /** Resets every open connection. */
  reset(): void {
    for (const pair of this.pairs) this.end(pair);
  }

  /** Resets the connections and stops listening. */
  async close(): Promise<void> {
    this.reset();
    this.held?.pair.server.destroy();
    await new Promise((resolve) => this.listener.close(resolve));
  }

  private accept(client: Socket): void {
    if (this.fault.kind === 'refuse') {
      client.resetAndDestroy();
      return;
    }
    const server = connect({ port: this.targetPort, host: '127.0.0.1', noDelay: true });
    const pair: Pair = { client, server, sentBytes: 0 };
    this.pairs.add(pair);
    client.on('data', (bytes) => this.onRequest(pair, bytes));
    server.on('data', (bytes) => this.onReply(pair, bytes));
    for (const socket of [client, server]) {
      socket.on('error', () => this.end(pair));
      socket.on('close', () => this.end(pair));
    }
    client.on('drain', () => server.resume());
    server.on('drain', () => client.resume());
  }

  private onRequest(pair: Pair, bytes: Buffer): void {
    const { fault } = this;
    if (fault.kind === 'hang') return;
    if (fault.kind === 'cut' && pair.sentBytes + bytes.length > fault.afterBytes) {
      pair.server.write(bytes.subarray(0, fault.afterBytes - pair.sentBytes));
      this.end(pair);
      return;
    }
    if (fault.kind === 'hold' && this.held === undefined && fault.isMeant(bytes)) {
      this.held = { pair, requests: [] };
    }
    if (this.held?.pair === pair) {
      this.held.requests.push(bytes);
      return;
    }
    pair.sentBytes += bytes.length;
    if (!pair.server.write(bytes)) pair.client.pause();
  }

  private onReply(pair: Pair, bytes: Buffer): void {
    const { fault } = this;
    if (fault.kind === 'hang') return;
    if (fault.kind === 'drop_replies' && this.options.random.bytes(1)[0]! < fault.share * 256) {
      this.dropped += 1;
      this.end(pair);
      return;
    }
    if (!pair.client.write(bytes)) pair.server.pause();
  }

  private end(pair: Pair): void {
    if (!this.pairs.delete(pair)) return;
    // A socket that is ending by itself can no longer be reset: the handle would never be freed.
    if (pair.client.writableEnded) pair.client.destroy();
    else pair.client.resetAndDestroy();
    if (this.held?.pair === pair) return;
    // The server keeps what it was sent: it gets an orderly end.
    pair.server.end();
    pair.server.destroySoon();
  }
}
