import { ProduceAcks, Producer } from '@platformatic/kafka';

import type { LogRecordInput } from '../../../core/src/index.js';
import { tooLarge } from '../log-errors.js';
import { OPEN_NETWORK, type KafkaAddress } from './kafka-connection.js';
import { fromKafkaError, isKafkaError } from './kafka-errors.js';
import { sizeOf } from './kafka-record.mapping.js';
import { appenderSecurity } from './kafka-security.js';

/**
 * Most bytes that one append may give to one partition; topics are provisioned to take as much in
 * one batch.
 */
export const MAX_PARTITION_APPEND_BYTES = 16 * 1024 * 1024;

/** How long the brokers may take to replicate a batch before they refuse it, milliseconds. */
const REPLICATION_MS = 10_000;
/** Time to open a connection, milliseconds. */
const CONNECT_MS = 3_000;

/** Keys and headers are text, values are bytes already. */
type TextProducer = Producer<string, Buffer, string, string>;

/**
 * Appends batch after batch: the next one is sent when the one before is answered. A batch that
 * fails in any way costs the producer its connections, so that nothing of it can arrive after what
 * a new producer sends, except from a broker's own queue. Neither the client's retries nor its
 * idempotence are used: whoever appends sends the same again, and readers drop what they know.
 */
export class KafkaAppender {
  private producer: TextProducer | undefined;
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
    const { producer } = this;
    this.producer = undefined;
    await producer?.close(true);
  }

  private async send(records: readonly LogRecordInput[]): Promise<void> {
    checkSizes(records);
    this.producer ??= openProducer(this.address);
    const { producer } = this;
    try {
      await producer.send({ acks: ProduceAcks.ALL, messages: records.map(toMessage) });
    } catch (error) {
      this.producer = undefined;
      // The batch has failed already; connections that do not close in order are left to the system.
      void producer.close(true).catch(() => undefined);
      if (isKafkaError(error, 'MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE')) {
        throw tooLarge(totalSize(records), MAX_PARTITION_APPEND_BYTES);
      }
      throw fromKafkaError(error);
    }
  }
}

function openProducer(address: KafkaAddress): TextProducer {
  const { brokers, clientId, requestTimeoutMs = 15_000, security = OPEN_NETWORK } = address;
  const bytesOf = (text: string | undefined): Buffer => Buffer.from(text ?? '');
  return new Producer({
    clientId,
    bootstrapBrokers: [...brokers],
    autocreateTopics: false,
    idempotent: false,
    retries: 0,
    repeatOnStaleMetadata: false,
    maxInflights: 1,
    timeout: REPLICATION_MS,
    requestTimeout: requestTimeoutMs,
    connectTimeout: CONNECT_MS,
    ...appenderSecurity(security),
    serializers: {
      key: bytesOf,
      value: (value) => value,
      headerKey: bytesOf,
      headerValue: bytesOf,
    },
  });
}

function toMessage({ topic, partition, key, headers, value }: LogRecordInput) {
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  return { topic, partition, key, headers, value: bytes };
}

/** @throws AppError `event_log.too_large` */
function checkSizes(records: readonly LogRecordInput[]): void {
  const sizes = new Map<string, number>();
  for (const record of records) {
    const target = `${record.topic}/${record.partition}`;
    const size = (sizes.get(target) ?? 0) + sizeOf(record);
    if (size > MAX_PARTITION_APPEND_BYTES) throw tooLarge(size, MAX_PARTITION_APPEND_BYTES);
    sizes.set(target, size);
  }
}

function totalSize(records: readonly LogRecordInput[]): number {
  return records.reduce((sum, record) => sum + sizeOf(record), 0);
}
