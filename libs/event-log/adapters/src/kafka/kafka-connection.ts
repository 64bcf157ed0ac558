import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';

import {
  Kafka,
  logLevel,
  type Cluster,
  type ISocketFactoryArgs,
  type PartitionAssigner,
} from 'kafkajs';

import { assert } from '#libs/kernel';

import { isKafkaError } from './kafka-errors.js';
import { readerSecurity, type KafkaSecurity } from './kafka-security.js';

/** How brokers are reached. */
export interface KafkaAddress {
  /** `host:port` each; any of them leads to all. */
  readonly brokers: readonly string[];
  /** Shown in the broker's own logs and metrics. */
  readonly clientId: string;
  /** After this long without an answer a request has failed, milliseconds. @default 15000 */
  readonly requestTimeoutMs?: number;
  /** @default neither TLS nor a login */
  readonly security?: KafkaSecurity;
}

/** What a network is taken for when nothing is said: one that needs no protection. */
export const OPEN_NETWORK: KafkaSecurity = { tls: false, login: null };

/** Time to open a connection, milliseconds; a broker on the same network takes about one. */
const CONNECT_MS = 3_000;
/** Pause between two looks at who leads which partition, milliseconds; errors cause one at once. */
const METADATA_MAX_AGE_MS = 60_000;
/** The owner of the work decides about retries, never the client. */
const NO_RETRIES = { retries: 0 };

/**
 * A socket whose owner may fail on what it receives: the client's decoder throws when a stream is
 * damaged, which would end the process, and which ends the connection instead.
 */
function guarded(socket: Socket): Socket {
  const emit = socket.emit.bind(socket) as Socket['emit'];
  socket.emit = (event: string | symbol, ...values: unknown[]): boolean => {
    if (event !== 'data') return emit(event, ...values);
    try {
      return emit(event, ...values);
    } catch (error) {
      socket.destroy(error instanceof Error ? error : new Error(String(error)));
      return true;
    }
  };
  return socket;
}

/**
 * One set of connections to the brokers, good until the first of them breaks. It is then made anew
 * and not repaired: the client keeps the half of an answer that a broken connection has left, and
 * would take it for the beginning of the first answer on the next one.
 */
export class KafkaConnection {
  /** Each connection asks another broker first: one that is dead must not be in everybody's way. */
  private static turn = 0;
  readonly kafka: Kafka;
  private readonly sockets = new Set<Socket>();
  private readonly tls: ConnectionOptions | undefined;
  private isDestroyed = false;

  /** @param onBroken told once when a connection has ended that we did not end */
  constructor(
    address: KafkaAddress,
    private readonly onBroken: () => void,
  ) {
    const first = KafkaConnection.turn % address.brokers.length;
    KafkaConnection.turn += 1;
    const { ssl, sasl } = readerSecurity(address.security ?? OPEN_NETWORK);
    this.tls = ssl;
    this.kafka = new Kafka({
      brokers: [...address.brokers.slice(first), ...address.brokers.slice(0, first)],
      clientId: address.clientId,
      connectionTimeout: CONNECT_MS,
      requestTimeout: address.requestTimeoutMs ?? 15_000,
      retry: NO_RETRIES,
      // What fails is thrown; the caller reports it.
      logLevel: logLevel.NOTHING,
      ...(ssl !== undefined && { ssl }),
      ...(sasl !== undefined && { sasl }),
      socketFactory: (target) => this.open(target),
    });
  }

  /**
   * The client's view of the brokers: connections, leaders and the protocol itself. The client gives
   * it to assigners of partitions and to nobody else. Its own consumer is not used because it starts
   * at an offset of its choice when one is out of range, fetches nothing while any partition of a
   * broker is being worked on, and rejoins a group while batches are in hand.
   */
  cluster(): Cluster {
    let cluster: Cluster | undefined;
    const assigner: PartitionAssigner = (given) => {
      cluster = given.cluster;
      return {
        name: 'none',
        version: 0,
        assign: async () => [],
        protocol: () => ({ name: 'none', metadata: Buffer.alloc(0) }),
      };
    };
    this.kafka.consumer({
      groupId: 'none',
      partitionAssigners: [assigner],
      allowAutoTopicCreation: false,
      metadataMaxAge: METADATA_MAX_AGE_MS,
      readUncommitted: true,
      retry: NO_RETRIES,
    });
    assert(cluster !== undefined, 'the client gave its assigner no cluster');
    return cluster;
  }

  /** Breaks every connection, now and later; requests that wait for an answer fail at once. */
  destroy(): void {
    this.isDestroyed = true;
    for (const socket of this.sockets) socket.destroy(gaveUp());
    this.sockets.clear();
  }

  private open({ host, port, onConnect }: ISocketFactoryArgs): Socket {
    const socket = guarded(openSocket(host, port, this.tls));
    if (this.isDestroyed) return socket.destroy(gaveUp());
    this.sockets.add(socket);
    let isOpen = false;
    // The client knows no difference; with TLS a connection is there when the handshake is done.
    socket.on(this.tls !== undefined ? 'secureConnect' : 'connect', () => {
      isOpen = true;
      onConnect();
    });
    socket.on('close', () => {
      this.sockets.delete(socket);
      if (!isOpen || this.isDestroyed) return;
      this.destroy();
      this.onBroken();
    });
    return socket.setNoDelay(true).setKeepAlive(true);
  }
}

function openSocket(host: string, port: number, tls: ConnectionOptions | undefined): Socket {
  if (tls === undefined) return connectTcp({ host, port });
  return connectTls({ ...tls, host, port, ...(isIP(host) === 0 && { servername: host }) });
}

function gaveUp(): Error {
  return new Error('the connection to the broker was given up');
}

/** A cluster that is connected when it is needed and replaced when it has failed. */
export class KafkaLink {
  private connection: KafkaConnection | undefined;
  private opening: Promise<Cluster> | undefined;
  private isClosed = false;

  constructor(
    private readonly address: KafkaAddress,
    private readonly topics: readonly string[],
  ) {}

  /** The cluster, connected and with the metadata of the topics. @throws the client's errors */
  async cluster(): Promise<Cluster> {
    assert(!this.isClosed, 'the link to the brokers is closed');
    this.opening ??= this.open();
    return this.opening;
  }

  /** After a failed request: learns anew who leads what, or gives the connections up. */
  async recover(cluster: Cluster): Promise<void> {
    const { opening } = this;
    if (opening === undefined || (await opening.catch(() => undefined)) !== cluster) return;
    try {
      await cluster.refreshMetadata();
    } catch (error) {
      // A partition without a leader fails the answer for all; what is known of the others still holds.
      if (isKafkaError(error, 'KafkaJSProtocolError')) return;
      // Whoever asks next connects anew and meets the failure himself.
      if (this.opening === opening) this.discard();
    }
  }

  /** Breaks the connections; the next use makes new ones. */
  discard(): void {
    this.connection?.destroy();
    this.connection = undefined;
    this.opening = undefined;
  }

  /** Breaks the connections for good. */
  close(): void {
    this.isClosed = true;
    this.discard();
  }

  private async open(): Promise<Cluster> {
    const connection = new KafkaConnection(this.address, () => {
      if (this.connection === connection) this.discard();
    });
    this.connection = connection;
    const cluster = connection.cluster();
    try {
      await cluster.connect();
      await cluster.addMultipleTargetTopics([...this.topics]);
      return cluster;
    } catch (error) {
      if (this.connection === connection) this.discard();
      throw error;
    }
  }
}
