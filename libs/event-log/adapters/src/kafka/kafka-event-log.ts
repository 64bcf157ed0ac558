import type { Cluster } from 'kafkajs';

import { AppError, assert, type Clock, type Random } from '#libs/kernel';
import {
  EventLog,
  type LogRecord,
  type LogRecordInput,
  type LogSubscription,
  type PartitionBounds,
  type ReadLimit,
  type SubscribeOptions,
} from '../../../core/src/index.js';
import { outOfRange, unknownTopic } from '../log-errors.js';
import type { TopicPartitions } from '../topic-partitions.js';
import { KafkaAppender } from './kafka-appender.js';
import { KafkaLink, type KafkaAddress } from './kafka-connection.js';
import { fromKafkaError, isKafkaError } from './kafka-errors.js';
import { fromMessage, sizeOf, type KafkaMessage } from './kafka-record.mapping.js';
import { KafkaSubscription } from './kafka-subscription.js';
import { retentionOf } from './topic-retention.js';
import { provisionKafkaTopics } from './provision-kafka-topics.js';

/** How the log on Kafka is reached. */
export interface KafkaEventLogOptions extends KafkaAddress {
  readonly clock: Clock;
  readonly random: Random;
  /** Made, or checked, before the first use of the log. @default none */
  readonly topics?: TopicPartitions;
  /** Pause between heartbeats of a member, milliseconds. @default 1000 */
  readonly heartbeatMs?: number;
  /** After this long without a heartbeat a member counts as dead, milliseconds. @default 10000 */
  readonly sessionMs?: number;
  /** How long a group waits for the batches in the hands of its members, ms. @default 60000 */
  readonly rebalanceMs?: number;
}

/** Most bytes of one read beyond what the caller asks for: a fetch gives whole batches. */
const READ_BYTES = 16 * 1024 * 1024;

/** How long a retention counts as known, milliseconds: operators change it while we run. */
const RETENTION_AGE_MS = 600_000;

/** The event log on Apache Kafka 3 and 4. */
export class KafkaEventLog extends EventLog {
  private readonly link: KafkaLink;
  private readonly appender: KafkaAppender;
  /** Partition counts are fixed for the life of a topic. */
  private readonly counts = new Map<string, number>();
  private readonly retention = new Map<
    string,
    { readonly retentionMs: number | null; readonly readAtMs: number }
  >();
  private readonly subscriptions = new Set<KafkaSubscription>();
  private provisioning: Promise<void> | undefined;

  constructor(private readonly options: KafkaEventLogOptions) {
    super();
    this.link = new KafkaLink(options, []);
    this.appender = new KafkaAppender(options);
  }

  async append(records: readonly LogRecordInput[]): Promise<void> {
    if (records.length === 0) return;
    for (const { topic, partition } of records) {
      const count = this.counts.get(topic) ?? (await this.partitions(topic));
      if (partition >= count) throw unknownTopic(`no partition ${topic}/${partition}`);
    }
    await this.appender.append(records);
  }

  async read(
    topic: string,
    partition: number,
    fromOffset: bigint,
    limit: ReadLimit,
  ): Promise<readonly LogRecord[]> {
    await this.checkPartition(topic, partition);
    const messages = await this.ask(async (cluster) => {
      await cluster.addTargetTopic(topic);
      const [nodeId] = Object.keys(cluster.findLeaderForPartitions(topic, [partition]));
      const broker = await cluster.findBroker({ nodeId: nodeId ?? '-1' });
      const maxBytes = Math.max(1, Math.min(limit.maxBytes, READ_BYTES));
      const answer: unknown = await broker.fetch({
        isolationLevel: 0,
        maxWaitTime: 0,
        maxBytes,
        topics: [{ topic, partitions: [{ partition, fetchOffset: String(fromOffset), maxBytes }] }],
      });
      const { responses } = answer as {
        responses: { partitions: { messages: KafkaMessage[] }[] }[];
      };
      return responses[0]?.partitions[0]?.messages ?? [];
    });
    return cut(topic, partition, messages, fromOffset, limit);
  }

  async bounds(topic: string, partition: number): Promise<PartitionBounds> {
    await this.checkPartition(topic, partition);
    return this.ask(async (cluster) => {
      await cluster.addTargetTopic(topic);
      // The earliest first: retention between the two requests cannot make it pass the end.
      const earliest = await offsetOf(cluster, topic, partition, true);
      const next = await offsetOf(cluster, topic, partition, false);
      return { earliest, next };
    });
  }

  async partitions(topic: string): Promise<number> {
    const known = this.counts.get(topic);
    if (known !== undefined) return known;
    await this.provision();
    const count = await this.ask(async (cluster) => {
      await cluster.addTargetTopic(topic);
      return cluster.findTopicPartitionMetadata(topic).length;
    });
    if (count === 0) throw unknownTopic(`no topic ${topic}`);
    this.counts.set(topic, count);
    return count;
  }

  override async retentionMs(topic: string): Promise<number | null> {
    const known = this.retention.get(topic);
    const nowMs = this.options.clock.monotonicMs();
    if (known !== undefined && nowMs - known.readAtMs < RETENTION_AGE_MS) return known.retentionMs;
    await this.partitions(topic);
    const retentionMs = await this.ask((cluster) => retentionOf(cluster, topic));
    this.retention.set(topic, { retentionMs, readAtMs: nowMs });
    return retentionMs;
  }

  /** Nothing: the brokers drop old segments by the retention of each topic. */
  async retire(): Promise<number> {
    return 0;
  }

  async subscribe(options: SubscribeOptions): Promise<LogSubscription> {
    await this.checkTopics(options.topics, options.fixedPartitions);
    const { clock, random } = this.options;
    const { heartbeatMs = 1_000, sessionMs = 10_000, rebalanceMs = 60_000 } = this.options;
    const subscription: KafkaSubscription = new KafkaSubscription({
      // A group's requests block a connection, so that each member has connections of its own.
      link: new KafkaLink(this.options, options.topics),
      clock,
      random,
      subscription: options,
      bounds: (topic, partition) => this.bounds(topic, partition),
      heartbeatMs,
      sessionMs,
      rebalanceMs,
      onStopped: () => this.subscriptions.delete(subscription),
    });
    this.subscriptions.add(subscription);
    subscription.start();
    return subscription;
  }

  async close(): Promise<void> {
    await Promise.all([...this.subscriptions].map((subscription) => subscription.stop()));
    await this.appender.close();
    this.link.close();
  }

  /** Topics have to exist; brokers that are away do not keep a member from waiting for them. */
  private async checkTopics(topics: readonly string[], fixed: readonly number[] = []) {
    try {
      for (const topic of topics) {
        const count = await this.partitions(topic);
        const beyond = fixed.find((partition) => partition >= count);
        if (beyond !== undefined) throw unknownTopic(`no partition ${topic}/${beyond}`);
      }
    } catch (error) {
      if (!(error instanceof AppError && error.code === 'event_log.unavailable')) throw error;
    }
  }

  private async provision(): Promise<void> {
    const { topics } = this.options;
    if (topics === undefined) return;
    this.provisioning ??= provisionKafkaTopics(this.options, topics);
    try {
      await this.provisioning;
    } catch (error) {
      this.provisioning = undefined;
      throw error;
    }
  }

  private async checkPartition(topic: string, partition: number): Promise<void> {
    if (partition >= (await this.partitions(topic))) {
      throw unknownTopic(`no partition ${topic}/${partition}`);
    }
  }

  /** Asks, and asks once more with fresh leaders or connections: a question changes nothing. */
  private async ask<T>(request: (cluster: Cluster) => Promise<T>): Promise<T> {
    try {
      return await this.askOnce(request);
    } catch (error) {
      if (isAnswer(error)) throw fromKafkaError(error);
    }
    try {
      return await this.askOnce(request);
    } catch (error) {
      throw fromKafkaError(error);
    }
  }

  private async askOnce<T>(request: (cluster: Cluster) => Promise<T>): Promise<T> {
    const cluster = await this.link.cluster();
    try {
      return await request(cluster);
    } catch (error) {
      if (!isAnswer(error)) await this.link.recover(cluster);
      throw error;
    }
  }
}

/** Whether a broker has said what is wrong with the question. */
function isAnswer(error: unknown): boolean {
  return isKafkaError(error, 'OFFSET_OUT_OF_RANGE', 'UNKNOWN_TOPIC_OR_PARTITION');
}

async function offsetOf(
  cluster: Cluster,
  topic: string,
  partition: number,
  fromBeginning: boolean,
): Promise<bigint> {
  const [found] = await cluster.fetchTopicsOffset([
    { topic, partitions: [{ partition }], fromBeginning },
  ]);
  const offset = found?.partitions[0]?.offset;
  assert(offset !== undefined, `the broker named no offset of ${topic}/${partition}`);
  return BigInt(offset);
}

/** A fetch begins with a whole batch of the log: what lies before is dropped, the rest is bounded. */
function cut(
  topic: string,
  partition: number,
  messages: readonly KafkaMessage[],
  fromOffset: bigint,
  limit: ReadLimit,
): readonly LogRecord[] {
  const records: LogRecord[] = [];
  let sizeBytes = 0;
  for (const message of messages) {
    if (message.isControlRecord || BigInt(message.offset) < fromOffset) continue;
    const record = fromMessage(topic, partition, message);
    const expected = fromOffset + BigInt(records.length);
    if (record.offset !== expected) {
      if (records.length > 0) break;
      throw outOfRange(`${topic}/${partition} has no record at ${expected}`);
    }
    sizeBytes += sizeOf(record);
    if (records.length > 0 && sizeBytes > limit.maxBytes) break;
    records.push(record);
    if (records.length >= limit.maxRecords) break;
  }
  return records;
}
