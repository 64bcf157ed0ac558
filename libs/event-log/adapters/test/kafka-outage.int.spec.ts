// Guarantee: whatever happens between the log and its brokers, no record that an appender was told
// about is lost, and what is there twice is there twice byte for byte. The appenders of these tests do
// what every appender of ours does: they send the same batch again until it is acknowledged.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { record, until } from '#libs/event-log/contract';
import type { EventLog, LogRecord, SubscribeOptions } from '#libs/event-log/core';
import { delay } from '#libs/kernel';
import type { TcpFault } from '#libs/testing';
import { KafkaHarness } from './kafka-harness.js';

const BATCH = 20;
/** Short, so that a broker that hangs costs a test a second and not fifteen. */
const IMPATIENT = { requestTimeoutMs: 1_000, sessionMs: 3_000, rebalanceMs: 5_000 };

/** Appends batches until it is stopped, each again and again until it is acknowledged. */
function startAppender(log: EventLog, topic: string, partitions: number) {
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
async function readAll(log: EventLog, topic: string, partition: number): Promise<LogRecord[]> {
  const all: LogRecord[] = [];
  const { next } = await log.bounds(topic, partition);
  while (BigInt(all.length) < next) {
    const limit = { maxRecords: 10_000, maxBytes: 1_000_000 };
    all.push(...(await log.read(topic, partition, BigInt(all.length), limit)));
  }
  return all;
}

/** Everything appended is there, first occurrences in order, repeats byte for byte. */
async function checkLog(
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

function consumer(harness: KafkaHarness, topic: string): SubscribeOptions {
  return {
    group: `group-of-${topic}`,
    topics: [topic],
    owner: harness.store.owner,
    onError: () => undefined,
    maxRecords: 50,
    maxBytes: 1_000_000,
    lingerMs: 0,
    handle: async (batch) => {
      await harness.store.commit(batch);
      batch.resolve(batch.records.at(-1)!.offset + 1n);
    },
  };
}

/** The consumer's store has every record of the log, each once and in order. */
async function expectAllConsumed(
  h: KafkaHarness,
  log: EventLog,
  topic: string,
  partitions: number,
) {
  let total = 0n;
  for (let partition = 0; partition < partitions; partition += 1) {
    total += (await log.bounds(topic, partition)).next;
  }
  await until(
    `${total} records`,
    async () => {
      return BigInt((await h.store.consumed(topic)).length) >= total;
    },
    30_000,
  );
  const consumed = await h.store.consumed(topic);
  expect(BigInt(consumed.length)).toBe(total);
  for (let partition = 0; partition < partitions; partition += 1) {
    const offsets = consumed.filter((one) => one.partition === partition).map((one) => one.offset);
    expect(offsets).toEqual(offsets.map((_, index) => BigInt(index)));
  }
}

describe('one broker', () => {
  let harness: KafkaHarness;
  beforeAll(async () => {
    harness = await KafkaHarness.start({ brokers: 1, isProxied: true });
  }, 240_000);
  afterAll(() => harness.stop());

  /** Appends and consumes while something goes wrong for a while. */
  async function live(goWrong: (appender: ReturnType<typeof startAppender>) => Promise<void>) {
    const [writer, reader] = [await harness.open(IMPATIENT), await harness.open(IMPATIENT)];
    const topic = await harness.createTopic(2);
    const subscription = await reader.subscribe(consumer(harness, topic));
    const appender = startAppender(writer, topic, 2);
    await until('the first batches', () => appender.counts.batches >= 10);
    await goWrong(appender);
    const reached = appender.counts.batches;
    await until('batches again', () => appender.counts.batches >= reached + 10, 30_000);
    const appended = await appender.stop();
    const { repeats } = await checkLog(writer, topic, 2, appended);
    await expectAllConsumed(harness, writer, topic, 2);
    await subscription.stop();
    return { repeats, failures: appender.counts.failures };
  }

  test('kill -9 of the broker under appends loses nothing', async () => {
    const [broker] = harness.kafka.brokers;
    const { failures } = await live(async (appender) => {
      for (let round = 0; round < 2; round += 1) {
        await broker!.kill();
        const before = appender.counts.failures;
        await until('a failure', () => appender.counts.failures > before);
        await broker!.start();
        const reached = appender.counts.batches;
        await until('batches', () => appender.counts.batches > reached + 5, 30_000);
      }
    });
    expect(failures).toBeGreaterThan(0);
  });

  test('replies lost after the append repeat batches and lose nothing', async () => {
    const { proxy } = harness.kafka.brokers[0]!;
    const { repeats } = await live(async (appender) => {
      const dropped = proxy!.droppedReplies;
      proxy!.set({ kind: 'drop_replies', share: 0.05 });
      await until(
        'lost replies',
        () => proxy!.droppedReplies > dropped + 20 && appender.counts.failures > 5,
        60_000,
      );
      proxy!.set({ kind: 'none' });
    });
    expect(repeats).toBeGreaterThan(0);
  });

  test.each<TcpFault>([{ kind: 'refuse' }, { kind: 'hang' }, { kind: 'cut', afterBytes: 2_000 }])(
    'a network that fails ($kind) costs time and nothing else',
    async (fault) => {
      const { proxy } = harness.kafka.brokers[0]!;
      await live(async (appender) => {
        const before = appender.counts.failures;
        proxy!.set(fault);
        await until('failures', () => appender.counts.failures > before + 1);
        proxy!.set({ kind: 'none' });
      });
      expect(harness.kafka.brokers).toHaveLength(1);
    },
  );

  test('a broker that stands still and goes on is used again', async () => {
    const [broker] = harness.kafka.brokers;
    const { failures } = await live(async (appender) => {
      broker!.pause();
      const before = appender.counts.failures;
      await until('a failure', () => appender.counts.failures > before);
      broker!.resume();
    });
    expect(failures).toBeGreaterThan(0);
  });
});

describe('three brokers', () => {
  let harness: KafkaHarness;
  beforeAll(async () => {
    harness = await KafkaHarness.start({ brokers: 3 });
  }, 240_000);
  afterAll(() => harness.stop());

  test('with one of three brokers dead, appends and consumers go on', async () => {
    const [writer, reader] = [await harness.open(IMPATIENT), await harness.open(IMPATIENT)];
    const topic = await harness.createTopic(6);
    const subscription = await reader.subscribe(consumer(harness, topic));
    const appender = startAppender(writer, topic, 6);
    await until('the first batches', () => appender.counts.batches >= 10, 30_000);
    for (const broker of harness.kafka.brokers) {
      await broker.kill();
      const reached = appender.counts.batches;
      await until('batches without it', () => appender.counts.batches >= reached + 20, 60_000);
      await broker.start();
      await until('batches with it', () => appender.counts.batches >= reached + 40, 60_000);
    }
    const appended = await appender.stop();
    await checkLog(writer, topic, 6, appended);
    await expectAllConsumed(harness, writer, topic, 6);
    await subscription.stop();
  });
});
