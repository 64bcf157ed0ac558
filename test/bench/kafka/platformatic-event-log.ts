import { Consumer, ProduceAcks, Producer, type ClusterTopicMetadata } from '@platformatic/kafka';

import {
  EventLog,
  type LogRecord,
  type LogRecordInput,
  type LogSubscription,
  type PartitionBounds,
  type ReadLimit,
  type SubscribeOptions,
} from '#libs/event-log/core';

const MAX_BYTES = 16 * 1024 * 1024;
const PARTITION_BYTES = 1024 * 1024;
const WAIT_MS = 250;

/**
 * The event log over the other client, as far as the comparison needs it: one member that holds all
 * partitions, no group. One batch in flight, no idempotence, no retries, as in the product.
 */
export class PlatformaticEventLog extends EventLog {
  private producer: Producer<string, Buffer, string, string> | undefined;
  private readonly consumer: Consumer;
  private readonly topics = new Map<string, ClusterTopicMetadata>();
  private readonly running = new Set<LogSubscription>();

  constructor(
    private readonly brokers: readonly string[],
    private readonly requestTimeoutMs = 15_000,
  ) {
    super();
    this.consumer = new Consumer({
      clientId: 'bench',
      groupId: 'bench',
      bootstrapBrokers: [...brokers],
      autocreateTopics: false,
      retries: 0,
      requestTimeout: requestTimeoutMs,
    });
  }

  async append(records: readonly LogRecordInput[]): Promise<void> {
    this.producer ??= new Producer({
      clientId: 'bench',
      bootstrapBrokers: [...this.brokers],
      autocreateTopics: false,
      idempotent: false,
      retries: 0,
      requestTimeout: this.requestTimeoutMs,
      repeatOnStaleMetadata: false,
      serializers: {
        key: (key) => Buffer.from(key!),
        value: (value) => value,
        headerKey: (name) => Buffer.from(name!),
        headerValue: (value) => Buffer.from(value!),
      },
    });
    const { producer } = this;
    try {
      await producer.send({
        acks: ProduceAcks.ALL,
        messages: records.map(({ topic, partition, key, headers, value }) => ({
          topic,
          partition,
          key,
          headers: { ...headers },
          value: Buffer.from(value.buffer, value.byteOffset, value.byteLength),
        })),
      });
    } catch (error) {
      this.producer = undefined;
      // What cannot be closed is left alone: the next append has connections of its own.
      void producer.close(true).catch(() => undefined);
      throw error;
    }
  }

  async read(
    topic: string,
    partition: number,
    fromOffset: bigint,
    _limit: ReadLimit,
  ): Promise<readonly LogRecord[]> {
    const fetched = await this.fetch(topic, new Map([[partition, fromOffset]]), 0);
    return fetched.get(partition) ?? [];
  }

  async bounds(topic: string, partition: number): Promise<PartitionBounds> {
    await this.metadata(topic);
    const at = async (timestamp: bigint): Promise<bigint> => {
      const partitions = { [topic]: [partition] };
      const found = await this.consumer.listOffsets({ topics: [topic], partitions, timestamp });
      return found.get(topic)![partition]!;
    };
    return { earliest: await at(-2n), next: await at(-1n) };
  }

  async partitions(topic: string): Promise<number> {
    return (await this.metadata(topic)).partitionsCount;
  }

  /** Nothing: the comparison retires nothing. */
  async retire(): Promise<number> {
    return 0;
  }

  async subscribe(options: SubscribeOptions): Promise<LogSubscription> {
    const [topic] = options.topics as [string];
    const positions = new Map<number, bigint>();
    for (let partition = 0; partition < (await this.partitions(topic)); partition += 1) {
      const bounds = await this.bounds(topic, partition);
      positions.set(partition, (await options.owner.take(topic, partition, bounds)).nextOffset);
    }
    const stopping = new AbortController();
    const loop = this.consume(options, topic, positions, stopping.signal);
    const subscription: LogSubscription = {
      assigned: () => [...positions.keys()].map((partition) => `${topic}/${partition}`),
      lag: () => [],
      stop: async () => {
        stopping.abort();
        await loop;
        this.running.delete(subscription);
      },
    };
    this.running.add(subscription);
    return subscription;
  }

  async close(): Promise<void> {
    for (const subscription of this.running) await subscription.stop();
    await this.producer?.close(true);
    await this.consumer.close(true);
  }

  private async consume(
    { handle, maxRecords }: SubscribeOptions,
    topic: string,
    positions: Map<number, bigint>,
    signal: AbortSignal,
  ): Promise<void> {
    while (!signal.aborted) {
      const fetched = await this.fetch(topic, positions, WAIT_MS);
      const handled = [...fetched].map(async ([partition, records]) => {
        for (let at = 0; at < records.length; at += maxRecords) {
          const batch = records.slice(at, at + maxRecords);
          const resolve = (next: bigint): void => void positions.set(partition, next);
          await handle({ topic, partition, epoch: 1n, records: batch, signal, resolve });
        }
      });
      await Promise.all(handled);
    }
  }

  /** One request for partitions that one broker leads. */
  private async fetch(
    topic: string,
    positions: ReadonlyMap<number, bigint>,
    maxWaitTime: number,
  ): Promise<ReadonlyMap<number, LogRecord[]>> {
    const { id, partitions } = await this.metadata(topic);
    const { responses } = await this.consumer.fetch({
      node: partitions[0]!.leader,
      isolationLevel: 0,
      minBytes: 1,
      maxBytes: MAX_BYTES,
      maxWaitTime,
      topics: [
        {
          topicId: id,
          partitions: [...positions].map(([partition, fetchOffset]) => ({
            partition,
            fetchOffset,
            currentLeaderEpoch: -1,
            lastFetchedEpoch: -1,
            partitionMaxBytes: PARTITION_BYTES,
          })),
        },
      ],
    });
    const found = new Map<number, LogRecord[]>();
    for (const { partitionIndex, records: batches } of responses[0]?.partitions ?? []) {
      const from = positions.get(partitionIndex)!;
      const records: LogRecord[] = [];
      for (const batch of batches ?? []) {
        for (const record of batch.records) {
          const offset = batch.firstOffset + BigInt(record.offsetDelta);
          if (offset < from) continue;
          const headers: Record<string, string> = {};
          for (const [name, value] of record.headers) headers[String(name)] = String(value);
          records.push({
            topic,
            partition: partitionIndex,
            offset,
            appendedAtMs: Number(batch.maxTimestamp),
            key: String(record.key),
            headers,
            value: record.value!,
          });
        }
      }
      if (records.length > 0) found.set(partitionIndex, records);
    }
    return found;
  }

  private async metadata(topic: string): Promise<ClusterTopicMetadata> {
    const known = this.topics.get(topic);
    if (known !== undefined) return known;
    this.consumer.topics.track(topic);
    const found = (await this.consumer.metadata({ topics: [topic] })).topics.get(topic)!;
    this.topics.set(topic, found);
    return found;
  }
}
