import type { Producer } from 'kafkajs';

import type { LogRecordInput } from '../../../core/src/index.js';
import { tooLarge } from '../log-errors.js';
import { KafkaConnection, type KafkaAddress } from './kafka-connection.js';
import { fromKafkaError, isKafkaError } from './kafka-errors.js';
import { sizeOf, toMessage } from './kafka-record.mapping.js';

/**
 * Most bytes that one append may give to one partition; topics are provisioned to take as much in
 * one batch.
 */
export const MAX_PARTITION_APPEND_BYTES = 16 * 1024 * 1024;

/** How long the brokers may take to replicate a batch before they refuse it, milliseconds. */
const REPLICATION_MS = 10_000;

/**
 * Appends batch after batch: the next one is sent when the one before is answered. A batch that
 * fails in any way costs the producer its connections, so that nothing of it can arrive after what
 * a new producer sends, except from a broker's own queue. The client's idempotence is off: it counts
 * a sequence number back before it knows whether the broker has used it.
 */
export class KafkaAppender {
  private open: { connection: KafkaConnection; producer: Producer } | undefined;
  private queue: Promise<unknown> = Promise.resolve();

  constructor(private readonly address: KafkaAddress) {}

  /** Resolves when all in-sync replicas have the records. */
  append(records: readonly LogRecordInput[]): Promise<void> {
    const result = this.queue.then(() => this.send(records));
    this.queue = result.catch(() => undefined);
    return result;
  }

  /** Waits for the batch in flight and closes the connections. */
  async close(): Promise<void> {
    await this.queue;
    this.giveUp();
  }

  private async send(records: readonly LogRecordInput[]): Promise<void> {
    const topicMessages = byTopic(records);
    try {
      const producer = await this.producer();
      await producer.sendBatch({ acks: -1, timeout: REPLICATION_MS, topicMessages });
    } catch (error) {
      this.giveUp();
      if (isKafkaError(error, 'MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE')) {
        throw tooLarge(totalSize(records), MAX_PARTITION_APPEND_BYTES);
      }
      throw fromKafkaError(error);
    }
  }

  private async producer(): Promise<Producer> {
    if (this.open !== undefined) return this.open.producer;
    const connection = new KafkaConnection(this.address, () => {
      if (this.open?.connection === connection) this.open = undefined;
    });
    const producer = connection.kafka.producer({
      idempotent: false,
      maxInFlightRequests: 1,
      retry: { retries: 0 },
      allowAutoTopicCreation: false,
      createPartitioner:
        () =>
        ({ message }) =>
          message.partition!,
    });
    this.open = { connection, producer };
    await producer.connect();
    return producer;
  }

  private giveUp(): void {
    this.open?.connection.destroy();
    this.open = undefined;
  }
}

type TopicMessages = { topic: string; messages: ReturnType<typeof toMessage>[] };

/** @throws AppError `event_log.too_large` */
function byTopic(records: readonly LogRecordInput[]): TopicMessages[] {
  const topics = new Map<string, TopicMessages>();
  const sizes = new Map<string, number>();
  for (const record of records) {
    const target = `${record.topic}/${record.partition}`;
    const size = (sizes.get(target) ?? 0) + sizeOf(record);
    if (size > MAX_PARTITION_APPEND_BYTES) throw tooLarge(size, MAX_PARTITION_APPEND_BYTES);
    sizes.set(target, size);
    const message = toMessage(record);
    const known = topics.get(record.topic);
    if (known === undefined) topics.set(record.topic, { topic: record.topic, messages: [message] });
    else known.messages.push(message);
  }
  return [...topics.values()];
}

function totalSize(records: readonly LogRecordInput[]): number {
  return records.reduce((sum, record) => sum + sizeOf(record), 0);
}
