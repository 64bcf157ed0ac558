import { expect } from '@jest/globals';
import { record, until } from '#libs/event-log/contract';
import type { EventLog, LogRecord, SubscribeOptions } from '#libs/event-log/core';
import { delay } from '#libs/kernel';
import type { KafkaHarness } from './kafka-harness.js';

const BATCH = 20;
/** Pause between two looks at what was consumed, milliseconds. */
const LOOK_MS = 100;

/** Appends batches until it is stopped, each again and again until it is acknowledged. */
export function startAppender(log: EventLog, topic: string, partitions: number, pauseMs = 0) {
  let isOn = true;
  const counts = { batches: 0, failures: 0 };
  const work = (async () => {
    while (isOn) {
      const batch = Array.from({ length: BATCH }, (_, nth) =>
        record(topic, nth % partitions, String(counts.batches * BATCH + nth)),
      );
      for (;;) {
        try {
          await log.append(batch);
          break;
        } catch {
          counts.failures += 1;
          await delay(20);
        }
      }
      counts.batches += 1;
      if (pauseMs > 0) await delay(pauseMs);
    }
  })();
  const stop = async (): Promise<number> => {
    isOn = false;
    await work;
    return counts.batches * BATCH;
  };
  return { counts, stop };
}

/** Reads a partition from the beginning to its end. */
export async function readAll(
  log: EventLog,
  topic: string,
  partition: number,
): Promise<LogRecord[]> {
  const all: LogRecord[] = [];
  const { next } = await log.bounds(topic, partition);
  while (BigInt(all.length) < next) {
    const limit = { maxRecords: 10_000, maxBytes: 1_000_000 };
    all.push(...(await log.read(topic, partition, BigInt(all.length), limit)));
  }
  return all;
}

/** Everything appended is there, first occurrences in order, repeats byte for byte. */
export async function checkLog(
  log: EventLog,
  topic: string,
  partitions: number,
  appended: number,
): Promise<{ readonly repeats: number }> {
  let repeats = 0;
  let distinct = 0;
  for (let partition = 0; partition < partitions; partition += 1) {
    const first = new Map<string, LogRecord>();
    for (const found of await readAll(log, topic, partition)) {
      const known = first.get(found.key);
      if (known === undefined) first.set(found.key, found);
      else {
        repeats += 1;
        expect(Buffer.from(found.value).equals(Buffer.from(known.value))).toBe(true);
        expect(found.headers).toEqual(known.headers);
      }
    }
    const order = [...first.keys()].map((key) => Number(key.slice('key-'.length)));
    expect(order).toEqual(order.toSorted((one, other) => one - other));
    distinct += order.length;
  }
  expect(distinct).toBe(appended);
  return { repeats };
}

/** A subscription that commits each batch to the consumer's own store, small batches at a time. */
export function consumer(harness: KafkaHarness, topic: string): SubscribeOptions {
  return {
    group: `group-of-${topic}`,
    topics: [topic],
    owner: harness.store.owner,
    onError: () => undefined,
    maxRecords: 50,
    maxBytes: 1_000_000,
    lingerMs: () => 0,
    handle: async (batch) => {
      await harness.store.commit(batch);
      batch.resolve(batch.records.at(-1)!.offset + 1n);
    },
  };
}

/** Waits as long as the consumer moves on: how much it has to catch up with depends on the machine. */
async function untilConsumed(h: KafkaHarness, topic: string, total: bigint): Promise<void> {
  const count = async (): Promise<bigint> => BigInt((await h.store.consumed(topic)).length);
  for (let seen = await count(); seen < total; seen = await count()) {
    await until(`more than ${seen} of ${total} records`, async () => {
      await delay(LOOK_MS);
      return (await count()) > seen;
    });
  }
}

/** The consumer's store has every record of the log, each once and in order. */
export async function expectAllConsumed(
  h: KafkaHarness,
  log: EventLog,
  topic: string,
  partitions: number,
) {
  let total = 0n;
  for (let partition = 0; partition < partitions; partition += 1) {
    total += (await log.bounds(topic, partition)).next;
  }
  await untilConsumed(h, topic, total);
  const consumed = await h.store.consumed(topic);
  expect(BigInt(consumed.length)).toBe(total);
  for (let partition = 0; partition < partitions; partition += 1) {
    const offsets = consumed.filter((one) => one.partition === partition).map((one) => one.offset);
    expect(offsets).toEqual(offsets.map((_, index) => BigInt(index)));
  }
}
