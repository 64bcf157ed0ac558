import { Kafka, logLevel, type Admin, type Consumer } from 'kafkajs';

import { topicRecord, type TopicReader, type TopicRecord } from './ledger-check.js';

const TOPIC = 'request.completed';
/** Pause between looks whether everything has come, milliseconds. */
const POLL_MS = 10;

/** The topic in Kafka, read by a consumer of its own from the beginning. */
export class KafkaTopic implements TopicReader {
  private readonly records = new Map<number, TopicRecord[]>();
  private readonly consumer: Consumer;
  private readonly admin: Admin;
  private reading: Promise<void> | undefined;

  constructor(brokers: readonly string[]) {
    const kafka = new Kafka({
      brokers: [...brokers],
      clientId: 'judge',
      logLevel: logLevel.NOTHING,
    });
    this.consumer = kafka.consumer({ groupId: 'judge', maxWaitTimeInMs: 50 });
    this.admin = kafka.admin();
  }

  async readFrom(offsets: ReadonlyMap<number, bigint>): Promise<readonly TopicRecord[]> {
    this.reading ??= this.start();
    await this.reading;
    const ends = await this.admin.fetchTopicOffsets(TOPIC);
    const isBehind = (): boolean =>
      ends.some(({ partition, high }) => BigInt(this.seen(partition).length) < BigInt(high));
    while (isBehind()) {
      await new Promise((resolve) => {
        setTimeout(resolve, POLL_MS);
      });
    }
    return ends.flatMap(({ partition, high }) =>
      this.seen(partition).slice(Number(offsets.get(partition) ?? 0n), Number(high)),
    );
  }

  async close(): Promise<void> {
    await Promise.all([this.consumer.disconnect(), this.admin.disconnect()]);
  }

  private async start(): Promise<void> {
    await Promise.all([this.admin.connect(), this.consumer.connect()]);
    await this.consumer.subscribe({ topics: [TOPIC], fromBeginning: true });
    await this.consumer.run({
      eachMessage: async ({ partition, message }) => {
        const headers = Object.fromEntries(
          Object.entries(message.headers ?? {}).map(([name, value]) => [name, String(value)]),
        );
        const value = message.value ?? Buffer.alloc(0);
        this.seen(partition).push(topicRecord(partition, BigInt(message.offset), headers, value));
      },
    });
  }

  private seen(partition: number): TopicRecord[] {
    let records = this.records.get(partition);
    if (records === undefined) this.records.set(partition, (records = []));
    return records;
  }
}
