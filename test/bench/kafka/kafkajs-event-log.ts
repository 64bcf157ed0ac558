import { KafkaEventLog, type KafkaEventLogOptions } from '#libs/event-log/adapters';
import type { LogRecordInput } from '#libs/event-log/core';
import { Kafka, logLevel, type Producer } from 'kafkajs';

/**
 * The product's log with its appends through kafkajs: one batch in flight, no idempotence, no
 * retries, a new producer after a failure.
 */
export class KafkajsEventLog extends KafkaEventLog {
  private producer: Promise<Producer> | undefined;

  constructor(private readonly given: KafkaEventLogOptions) {
    super(given);
  }

  override async append(records: readonly LogRecordInput[]): Promise<void> {
    this.producer ??= this.connect();
    const { producer } = this;
    try {
      await (await producer).sendBatch({ acks: -1, topicMessages: byTopic(records) });
    } catch (error) {
      this.producer = undefined;
      void producer.then((failed) => failed.disconnect()).catch(() => undefined);
      throw error;
    }
  }

  override async close(): Promise<void> {
    await (await this.producer)?.disconnect();
    await super.close();
  }

  private async connect(): Promise<Producer> {
    const { brokers, clientId, requestTimeoutMs = 15_000 } = this.given;
    const producer = new Kafka({
      brokers: [...brokers],
      clientId,
      requestTimeout: requestTimeoutMs,
      retry: { retries: 0 },
      logLevel: logLevel.NOTHING,
    }).producer({
      idempotent: false,
      maxInFlightRequests: 1,
      allowAutoTopicCreation: false,
      createPartitioner: () => (chosen) => chosen.message.partition!,
    });
    await producer.connect();
    return producer;
  }
}

function byTopic(records: readonly LogRecordInput[]) {
  const topics = new Map<string, LogRecordInput[]>();
  for (const record of records) {
    const known = topics.get(record.topic);
    if (known === undefined) topics.set(record.topic, [record]);
    else known.push(record);
  }
  return [...topics].map(([topic, ofTopic]) => ({
    topic,
    messages: ofTopic.map(({ key, headers, partition, value }) => ({
      key,
      headers,
      partition,
      value: Buffer.from(value.buffer, value.byteOffset, value.byteLength),
    })),
  }));
}
