import { EphemeralPartitionOwner, type EventLog, type LogRecordInput } from '#libs/event-log/core';
import { delay, SystemClock, SystemRandom } from '#libs/kernel';

import { KafkajsEventLog } from './kafkajs-event-log.js';
import { PlatformaticEventLog } from './platformatic-event-log.js';

/** The clients that are compared. */
export const CLIENTS = ['kafkajs', 'platformatic'] as const;
/** One of them. */
export type Client = (typeof CLIENTS)[number];
/** What is measured of a client. */
export type Step = 'produce' | 'consume';

/** Bytes of the value of a record: about a terminal event of ours. */
const VALUE_BYTES = 1_200;
/** Partitions of a topic of the comparison. */
export const PARTITIONS = 12;

/** The event log over a client. */
export function openLog(
  client: Client,
  brokers: readonly string[],
  requestTimeoutMs = 15_000,
): EventLog {
  if (client === 'platformatic') return new PlatformaticEventLog(brokers, requestTimeoutMs);
  const [clock, random] = [new SystemClock(), new SystemRandom()];
  return new KafkajsEventLog({ brokers, clientId: 'bench', clock, random, requestTimeoutMs });
}

/** What a run of one client did. */
export interface ClientRun {
  readonly events: number;
  /** User and system time of the process, microseconds per event. */
  readonly cpuUs: number;
  readonly eventsPerSecond: number;
}

/** A record of the size of ours. */
export function eventOf(topic: string, partition: number, number: number): LogRecordInput {
  return {
    topic,
    partition,
    key: `key-${number}`,
    headers: { ce_id: `event-${number}`, emitter_seq: String(number) },
    value: Buffer.alloc(VALUE_BYTES, number % 251),
  };
}

/** Appends batches over all partitions, one in flight; the first fifth warms up. */
export async function produce(log: EventLog, topic: string, events: number, batchSize: number) {
  const batches = Math.floor(events / batchSize);
  const warm = Math.floor(batches / 5);
  const prepared = Array.from({ length: batchSize }, (_, nth) =>
    eventOf(topic, nth % PARTITIONS, nth),
  );
  for (let batch = 0; batch < warm; batch += 1) await log.append(prepared);
  return measure((batches - warm) * batchSize, async () => {
    for (let batch = warm; batch < batches; batch += 1) await log.append(prepared);
  });
}

/** Consumes everything of a topic twice; the first time warms up. */
export async function consume(log: EventLog, topic: string, events: number, batchSize: number) {
  await consumeOnce(log, topic, `warm-${topic}`, events, batchSize);
  return measure(events, () => consumeOnce(log, topic, `bench-${topic}`, events, batchSize));
}

async function consumeOnce(
  log: EventLog,
  topic: string,
  group: string,
  events: number,
  batchSize: number,
): Promise<void> {
  const owner = new EphemeralPartitionOwner('earliest');
  let seen = 0;
  const subscription = await log.subscribe({
    group,
    topics: [topic],
    owner,
    maxRecords: batchSize,
    maxBytes: 4 * 1024 * 1024,
    lingerMs: () => 0,
    // The first member of a new broker waits for the broker's own topics; the run shows the rest.
    onError: () => undefined,
    handle: async (batch) => {
      seen += batch.records.length;
      const next = batch.records.at(-1)!.offset + 1n;
      owner.advance(batch.topic, batch.partition, next);
      batch.resolve(next);
    },
  });
  while (seen < events) await delay(1);
  await subscription.stop();
}

async function measure(events: number, work: () => Promise<void>): Promise<ClientRun> {
  const clock = new SystemClock();
  const startMs = clock.monotonicMs();
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  const seconds = (clock.monotonicMs() - startMs) / 1_000;
  return {
    events,
    cpuUs: (user + system) / events,
    eventsPerSecond: Math.round(events / seconds),
  };
}
