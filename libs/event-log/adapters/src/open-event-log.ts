import type { Database } from '#libs/platform/postgres';
import type { Runtime } from '#libs/platform/telemetry';
import type { EventLog } from '../../core/src/index.js';
import { KafkaEventLog } from './kafka/kafka-event-log.js';
import type { AppendSignal } from './postgres/append-signal.js';
import { PostgresEventLog } from './postgres/postgres-event-log.js';
import { productTopics } from './topic-partitions.js';

/** What decides where the event log is, and what it is reached with. */
export interface OpenEventLogOptions {
  /** The name of the process in the broker's logs. */
  readonly service: string;
  readonly runtime: Pick<Runtime, 'clock' | 'random' | 'partitions'>;
  /** `KAFKA_BROKERS`; null = the log is in PostgreSQL. */
  readonly kafkaBrokers: readonly string[] | null;
  /** After this long without a heartbeat a member of a group on Kafka counts as dead, ms. @default 10000 */
  readonly kafkaSessionMs?: number;
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
  const { service, runtime, kafkaBrokers, kafkaSessionMs, database, signal } = options;
  const { clock, random, partitions } = runtime;
  if (kafkaBrokers !== null) {
    return new KafkaEventLog({
      brokers: kafkaBrokers,
      clientId: `tollgate-${service}`,
      clock,
      random,
      topics: productTopics(partitions),
      ...(kafkaSessionMs !== undefined && {
        sessionMs: kafkaSessionMs,
        heartbeatMs: Math.min(1_000, Math.floor(kafkaSessionMs / 4)),
      }),
    });
  }
  return new PostgresEventLog({ database, clock, random, ...(signal && { signal }) });
}
