import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { SystemRandom } from '#libs/kernel';
import { processEnvironment } from '#libs/platform/config';

import { EngineProcess, watchOver } from './engine-process.js';
import { kafkaJars } from './kafka-jars.js';
import { makeKafkaLock, type KafkaLock } from './kafka-lock.js';
import { stablePorts } from './stable-ports.js';
import { TcpFaultProxy } from './tcp-fault-proxy.js';

/** One broker, which is a controller too. */
export interface TestKafkaBroker {
  /** Where clients reach it, `host:port`; the proxy in front of it when there is one. */
  readonly address: string;
  /** What clients' connections pass through. */
  readonly proxy: TcpFaultProxy | null;
  /** Ends it as `kill -9` does. */
  kill(): Promise<void>;
  /** Starts it again on the same data and port; resolves when it answers. */
  start(): Promise<void>;
  /** SIGSTOP. */
  pause(): void;
  /** SIGCONT. */
  resume(): void;
}

/** A running Apache Kafka. */
export interface TestKafka {
  /** What clients are told, `host:port` each. */
  readonly addresses: readonly string[];
  /** Empty when `KAFKA_BROKERS` names one that we did not start. */
  readonly brokers: readonly TestKafkaBroker[];
  /** The file of the certificate that clients have to trust; null without a login. */
  readonly certificateFile: string | null;
  /** Ends the brokers and removes their data. Idempotent. */
  stop(): Promise<void>;
}

/** What a test needs of Kafka. */
export interface TestKafkaOptions {
  readonly brokers: 1 | 3;
  /** Puts a fault proxy between every client and every broker. @default false */
  readonly isProxied?: boolean;
  /** Whether the test stops and breaks brokers, so that a shared one cannot serve. @default false */
  readonly isOwn?: boolean;
  /** Lets the broker compile its hot code fully, at the price of a slower start. @default false */
  readonly isFast?: boolean;
  /** Clients need TLS and this login (SASL/PLAIN); brokers among themselves do not. @default none */
  readonly login?: { readonly username: string; readonly password: string };
  /** Where the brokers keep their data, for disks that a test can fill. @default a temporary folder */
  readonly dataDirectory?: string;
}

/**
 * Starts Apache Kafka (KRaft) from its own jars on free loopback ports, with its data under the
 * temporary folder; about three seconds a broker. `KAFKA_BROKERS` is used instead where a shared
 * broker will do.
 * @throws Error in one line that names what is missing
 */
export async function startTestKafka(options: TestKafkaOptions): Promise<TestKafka> {
  const { KAFKA_BROKERS: given } = processEnvironment();
  const needsOwn =
    options.isOwn === true ||
    options.isProxied === true ||
    options.brokers > 1 ||
    options.login !== undefined;
  if (given !== undefined && given !== '' && !needsOwn) {
    const stop = async (): Promise<void> => undefined;
    return { addresses: given.split(','), brokers: [], certificateFile: null, stop };
  }
  const jars = await kafkaJars();
  const directory = mkdtempSync(join(tmpdir(), 'tollgate-test-kafka-'));
  const callOff = watchOver(directory);
  const lock = options.login === undefined ? null : await makeKafkaLock(directory, options.login);
  const nodes = await layOut(options, directory, jars, lock);
  const stop = async (): Promise<void> => {
    await Promise.all(nodes.map((node) => node.process.kill()));
    await Promise.all(nodes.map(async (node) => node.proxy?.close()));
    callOff();
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    await Promise.all(nodes.map((node) => node.process.start()));
  } catch (error) {
    await stop();
    throw error;
  }
  let stopped: Promise<void> | undefined;
  const brokers = nodes.map(asBroker);
  const addresses = brokers.map((broker) => broker.address);
  const certificateFile = lock?.certificateFile ?? null;
  return { addresses, brokers, certificateFile, stop: () => (stopped ??= stop()) };
}

interface Node {
  readonly process: EngineProcess;
  readonly proxy: TcpFaultProxy | null;
  readonly address: string;
}

function asBroker({ process, proxy, address }: Node): TestKafkaBroker {
  return {
    address,
    proxy,
    kill: () => process.kill(),
    start: () => process.start(),
    pause: () => process.pause(),
    resume: () => process.resume(),
  };
}

async function layOut(
  options: TestKafkaOptions,
  directory: string,
  jars: string,
  lock: KafkaLock | null,
): Promise<readonly Node[]> {
  const { brokers: count, isProxied = false, isFast = false, dataDirectory } = options;
  const ports = await stablePorts(3 * count);
  const clusterId = Buffer.from(new SystemRandom().bytes(16)).toString('base64url');
  const ids = Array.from({ length: count }, (_, index) => index + 1);
  const portOf = (id: number, nth: number): number => ports[3 * (id - 1) + nth]!;
  const voters = ids.map((id) => `${id}@127.0.0.1:${portOf(id, 2)}`).join(',');
  return Promise.all(
    ids.map(async (id): Promise<Node> => {
      const port = portOf(id, 1);
      const proxy = isProxied ? await TcpFaultProxy.open({ targetPort: port }) : null;
      // Certificates are made for names.
      const host = lock === null ? '127.0.0.1' : 'localhost';
      const address = `${host}:${proxy?.port ?? port}`;
      const data = join(dataDirectory ?? directory, `data-${id}`);
      mkdirSync(data);
      // What formatting the folder would write: the broker takes the rest from its own defaults.
      const identity = `version=1\ncluster.id=${clusterId}\nnode.id=${id}\n`;
      writeFileSync(join(data, 'meta.properties'), identity);
      const file = join(directory, `broker-${id}.properties`);
      const listeners = [portOf(id, 0), port, portOf(id, 2)];
      writeFileSync(file, properties({ id, count, listeners, address, voters, data, lock }));
      const process = new EngineProcess({
        name: `broker-${id}`,
        command: 'java',
        args: [...JAVA, ...(isFast ? [] : QUICK_START), '-cp', `${jars}/*`, 'kafka.Kafka', file],
        directory,
        probe: () => probe(lock === null ? port : portOf(id, 0)),
        startMs: START_MS,
      });
      return { process, proxy, address };
    }),
  );
}

/** Three seconds as a rule; many times that on a machine that does much else, milliseconds. */
const START_MS = 120_000;

const JAVA = [
  '-Xms128m',
  '-Xmx512m',
  '-XX:+UseSerialGC',
  '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
];
const QUICK_START = ['-XX:TieredStopAtLevel=1'];

interface NodeSettings {
  readonly id: number;
  readonly count: number;
  /** Ports between brokers, for clients, between controllers. */
  readonly listeners: readonly number[];
  readonly address: string;
  readonly voters: string;
  readonly data: string;
  readonly lock: KafkaLock | null;
}

/** @source Apache Kafka documentation, "Broker Configs" */
function properties(node: NodeSettings): string {
  const [internal, client, controller] = node.listeners;
  const settings: Record<string, string | number | boolean> = {
    'process.roles': 'broker,controller',
    'node.id': node.id,
    'controller.quorum.voters': node.voters,
    listeners:
      `INTERNAL://127.0.0.1:${internal},CLIENT://127.0.0.1:${client},` +
      `CONTROLLER://127.0.0.1:${controller}`,
    'advertised.listeners': `INTERNAL://127.0.0.1:${internal},CLIENT://${node.address}`,
    'listener.security.protocol.map':
      `INTERNAL:PLAINTEXT,CLIENT:${node.lock === null ? 'PLAINTEXT' : 'SASL_SSL'},` +
      'CONTROLLER:PLAINTEXT',
    ...node.lock?.properties,
    'inter.broker.listener.name': 'INTERNAL',
    'controller.listener.names': 'CONTROLLER',
    'log.dirs': node.data,
    'auto.create.topics.enable': false,
    'default.replication.factor': node.count,
    'offsets.topic.num.partitions': 3,
    'offsets.topic.replication.factor': node.count,
    'transaction.state.log.num.partitions': 1,
    'transaction.state.log.replication.factor': node.count,
    'transaction.state.log.min.isr': 1,
    'group.initial.rebalance.delay.ms': 0,
    'group.min.session.timeout.ms': 500,
    // A dead broker is noticed within seconds, so that outages of a test are short.
    'broker.heartbeat.interval.ms': 300,
    'broker.session.timeout.ms': 2_000,
    'log.cleaner.enable': false,
  };
  return Object.entries(settings)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('');
}

/** ApiVersions version 0 without a client id: a broker answers it as soon as it serves requests. */
const API_VERSIONS = Buffer.from([0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 255, 255]);

/** @source Apache Kafka protocol guide, "ApiVersions API" */
function probe(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    const fail = (error?: Error): void => {
      socket.destroy();
      reject(error ?? new Error('no answer'));
    };
    socket.setTimeout(1_000, fail);
    socket.once('error', fail);
    socket.once('close', () => fail());
    socket.once('connect', () => socket.write(API_VERSIONS));
    socket.once('data', () => {
      socket.destroy();
      resolve();
    });
  });
}
