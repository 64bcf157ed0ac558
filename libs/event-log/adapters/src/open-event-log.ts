import type { KafkaConfig } from '#libs/platform/config';
import type { Database } from '#libs/platform/postgres';
import type { Runtime } from '#libs/platform/telemetry';
import type { EventLog } from '../../core/src/index.js';
import type { KafkaAddress } from './kafka/kafka-connection.js';
import { KafkaEventLog } from './kafka/kafka-event-log.js';
import type { AppendSignal } from './postgres/append-signal.js';
import { PostgresEventLog } from './postgres/postgres-event-log.js';
import { productTopics } from './topic-partitions.js';

/** The settings of the environment that concern Kafka; what is left out has its default. */
export type KafkaSettings = Pick<KafkaConfig, 'kafkaBrokers'> &
  Partial<
    Pick<
      KafkaConfig,
      | 'kafkaSessionMs'
      | 'kafkaSsl'
      | 'kafkaSaslMechanism'
      | 'kafkaSaslUsername'
      | 'kafkaSaslPassword'
    >
  >;

/** Heartbeats of a member at most, milliseconds; a member is given up after several. */
const HEARTBEAT_MS = 1_000;

/** What decides where the event log is, and what it is reached with. */
export interface OpenEventLogOptions {
  /** The name of the process in the broker's logs. */
  readonly service: string;
  readonly runtime: Pick<Runtime, 'clock' | 'random' | 'partitions'>;
  /** Without brokers the log is in PostgreSQL. */
  readonly kafka: KafkaSettings;
  /** The pool that the log in PostgreSQL uses. */
  readonly database: Database;
  /** For logs in PostgreSQL that share a process. @default one of its own */
  readonly signal?: AppendSignal;
}

/**
 * The event log of the deployment: on Kafka when brokers are given, else in PostgreSQL. It connects
 * when it is first used, so that a process starts while the log is away. On Kafka the product's
 * topics are made when they are missing.
 */
export function openEventLog(options: OpenEventLogOptions): EventLog {
  const { service, runtime, kafka, database, signal } = options;
  const { clock, random, partitions } = runtime;
  const { kafkaSessionMs: sessionMs = 10_000 } = kafka;
  const address = kafkaAddress(kafka, `tollgate-${service}`);
  if (address !== null) {
    return new KafkaEventLog({
      ...address,
      clock,
      random,
      topics: productTopics(partitions),
      sessionMs,
      heartbeatMs: Math.min(HEARTBEAT_MS, Math.floor(sessionMs / 4)),
    });
  }
  return new PostgresEventLog({ database, clock, random, ...(signal && { signal }) });
}

/**
 * How the brokers of the settings are reached; null without brokers.
 * @param clientId shown in the broker's own logs and metrics
 */
export function kafkaAddress(settings: KafkaSettings, clientId: string): KafkaAddress | null {
  const { kafkaBrokers: brokers, kafkaSsl: ssl = false } = settings;
  if (brokers === null) return null;
  const {
    kafkaSaslMechanism: mechanism = null,
    kafkaSaslUsername: username = null,
    kafkaSaslPassword: password = null,
  } = settings;
  const isComplete = mechanism !== null && username !== null && password !== null;
  return {
    brokers,
    clientId,
    security: {
      tls: typeof ssl === 'boolean' ? ssl : { ca: ssl.pem },
      login: isComplete ? { mechanism, username, password } : null,
    },
  };
}
