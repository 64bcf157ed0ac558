import { describe, expect, test } from '@jest/globals';
import { delay } from '#libs/kernel';
import type {
  EventLog,
  LogBatch,
  LogSubscription,
  SubscribeOptions,
} from '../../core/src/index.js';
import { gate, record, records, until, type EventLogHarness } from './event-log-harness.js';

/** A consumer that commits every batch, with what a test changes. */
function consumer(
  harness: EventLogHarness,
  topic: string,
  changes: Partial<SubscribeOptions> = {},
): SubscribeOptions {
  return {
    group: `group-of-${topic}`,
    topics: [topic],
    owner: harness.store.owner,
    handle: async (batch) => {
      await harness.store.commit(batch);
      batch.resolve(batch.records.at(-1)!.offset + 1n);
    },
    onError: () => undefined,
    maxRecords: 100,
    maxBytes: 1_000_000,
    lingerMs: () => 0,
    ...changes,
  };
}

/** Waits until `count` records are committed and checks that each partition is complete, in order. */
async function expectConsumed(h: EventLogHarness, topic: string, count: number): Promise<void> {
  await until(`${count} records`, async () => (await h.store.consumed(topic)).length >= count);
  const consumed = await h.store.consumed(topic);
  expect(consumed).toHaveLength(count);
  for (const partition of new Set(consumed.map((found) => found.partition))) {
    const offsets = consumed.filter((found) => found.partition === partition).map((f) => f.offset);
    expect(offsets).toEqual(offsets.map((_, index) => BigInt(index)));
  }
}

/** Promises of consumer groups. */
export function describeConsumerGroups(harness: () => EventLogHarness): void {
  describe('consumer groups', () => {
    test('every record reaches the group once, in order per partition', async () => {
      const log = await harness().open();
      const topic = await harness().createTopic(3);
      for (let round = 0; round < 10; round += 1) {
        await log.append([0, 1, 2].flatMap((partition) => records(topic, partition, 10)));
      }
      const subscription = await log.subscribe(consumer(harness(), topic));
      await log.append([0, 1, 2].flatMap((partition) => records(topic, partition, 5)));
      await expectConsumed(harness(), topic, 315);
      expect(subscription.assigned()).toEqual(
        [0, 1, 2].map((partition) => `${topic}/${partition}`),
      );
      await subscription.stop();
    });

    test('an append of another process arrives', async () => {
      const [reader, writer] = [await harness().open(), await harness().open()];
      const topic = await harness().createTopic(1);
      const subscription = await reader.subscribe(consumer(harness(), topic));
      await writer.append(records(topic, 0, 2));
      await expectConsumed(harness(), topic, 2);
      await subscription.stop();
    });

    test('two groups read the same records, each for itself', async () => {
      const log = await harness().open();
      const topic = await harness().createTopic(1);
      await log.append(records(topic, 0, 3));
      const seen: string[] = [];
      const other = consumer(harness(), topic, {
        group: `other-${topic}`,
        owner: { take: async (_t, _p, bounds) => ({ epoch: 1n, nextOffset: bounds.earliest }) },
        handle: async (batch) => {
          seen.push(...batch.records.map(({ key }) => key));
          batch.resolve(batch.records.at(-1)!.offset + 1n);
        },
      });
      const both = [await log.subscribe(consumer(harness(), topic)), await log.subscribe(other)];
      await expectConsumed(harness(), topic, 3);
      await until('the other group', () => seen.length >= 3);
      expect(new Set(seen)).toEqual(new Set(['key-0', 'key-1', 'key-2']));
      await Promise.all(both.map((subscription) => subscription.stop()));
    });

    test('a restart goes on at the offset of the owner', async () => {
      const topic = await harness().createTopic(1);
      const first = await harness().open();
      await first.append(records(topic, 0, 4));
      const before = await first.subscribe(consumer(harness(), topic));
      await expectConsumed(harness(), topic, 4);
      await before.stop();
      await first.close();
      const second = await harness().open();
      await second.append(records(topic, 0, 3));
      const starts: bigint[] = [];
      const options = consumer(harness(), topic);
      const after = await second.subscribe({
        ...options,
        handle: (batch) => {
          starts.push(batch.records[0]!.offset);
          return options.handle(batch);
        },
      });
      await expectConsumed(harness(), topic, 7);
      expect(starts[0]).toBe(4n);
      await after.stop();
    });

    test('a batch waits for more records, but not longer than its linger', async () => {
      const log = await harness().open();
      const topic = await harness().createTopic(1);
      const sizes: number[] = [];
      const options = consumer(harness(), topic, {
        // The first batch has all the time it needs to fill; those after it never fill.
        lingerMs: () => (sizes.length === 0 ? 600_000 : 200),
        maxRecords: 6,
      });
      const subscription = await log.subscribe({
        ...options,
        handle: (batch) => {
          sizes.push(batch.records.length);
          return options.handle(batch);
        },
      });
      for (let index = 0; index < 8; index += 1)
        await log.append([record(topic, 0, String(index))]);
      await expectConsumed(harness(), topic, 8);
      expect(sizes[0]).toBe(6);
      await subscription.stop();
    });
  });
  describeFailures(harness);
  describeMembership(harness);
}

function describeFailures(harness: () => EventLogHarness): void {
  describe('failures of a handler', () => {
    test('a batch that is not resolved comes again', async () => {
      const log = await harness().open();
      const topic = await harness().createTopic(1);
      await log.append(records(topic, 0, 3));
      const offsets: bigint[][] = [];
      const options = consumer(harness(), topic);
      const subscription = await log.subscribe({
        ...options,
        handle: async (batch) => {
          offsets.push(batch.records.map(({ offset }) => offset));
          if (offsets.length > 2) await options.handle(batch);
        },
      });
      await expectConsumed(harness(), topic, 3);
      expect(offsets.length).toBeGreaterThan(2);
      expect(offsets).toEqual(offsets.map(() => [0n, 1n, 2n]));
      await subscription.stop();
    });

    test('a part of a batch may be resolved; the rest comes again', async () => {
      const log = await harness().open();
      const topic = await harness().createTopic(1);
      await log.append(records(topic, 0, 5));
      const subscription = await log.subscribe(
        consumer(harness(), topic, {
          handle: async (batch) => {
            const part = batch.records.slice(0, 2);
            await harness().store.commit(batch, part);
            batch.resolve(part.at(-1)!.offset + 1n);
          },
        }),
      );
      await expectConsumed(harness(), topic, 5);
      await subscription.stop();
    });

    test('a handler that fails after its commit does not see the records again', async () => {
      const log = await harness().open();
      const topic = await harness().createTopic(1);
      await log.append(records(topic, 0, 2));
      const errors: unknown[] = [];
      const subscription = await log.subscribe(
        consumer(harness(), topic, {
          onError: (error) => errors.push(error),
          handle: async (batch) => {
            await harness().store.commit(batch);
            if (errors.length === 0) throw new Error('the answer to the commit was lost');
            batch.resolve(batch.records.at(-1)!.offset + 1n);
          },
        }),
      );
      await until('the failure', () => errors.length > 0);
      await log.append([record(topic, 0, 'next')]);
      await expectConsumed(harness(), topic, 3);
      await subscription.stop();
    });

    test('a poison batch blocks its partition alone, and is reported', async () => {
      const log = await harness().open();
      const topic = await harness().createTopic(2);
      await log.append([record(topic, 0, 'poison'), ...records(topic, 1, 20)]);
      const reported: unknown[] = [];
      let isPoisonous = true;
      const options = consumer(harness(), topic);
      const subscription = await log.subscribe({
        ...options,
        onError: (error, at) => {
          // What a slow log does to the member itself is no matter of a partition.
          if (at.partition >= 0) reported.push({ error, at });
        },
        handle: async (batch) => {
          if (batch.partition === 0 && isPoisonous) throw new Error('cannot digest');
          await options.handle(batch);
        },
      });
      await expectConsumed(harness(), topic, 20);
      const report = { error: new Error('cannot digest'), at: { topic, partition: 0 } };
      await until('two attempts', () => reported.length >= 2);
      expect(reported).toEqual(reported.map(() => report));
      isPoisonous = false;
      await expectConsumed(harness(), topic, 21);
      await subscription.stop();
    });

    test('one partition has one batch in hand, different partitions run at once', async () => {
      const log = await harness().open();
      const topic = await harness().createTopic(2);
      await log.append([...records(topic, 0, 5), ...records(topic, 1, 5)]);
      const inHand = new Map<number, number>();
      const bothRun = gate();
      let most = 0;
      const subscription = await log.subscribe(
        consumer(harness(), topic, {
          maxRecords: 1,
          handle: async (batch) => {
            inHand.set(batch.partition, (inHand.get(batch.partition) ?? 0) + 1);
            most = Math.max(most, ...inHand.values());
            if (inHand.get(0) === 1 && inHand.get(1) === 1) bothRun.open();
            await bothRun.opened;
            try {
              await harness().store.commit(batch);
            } finally {
              inHand.set(batch.partition, inHand.get(batch.partition)! - 1);
            }
            batch.resolve(batch.records[0]!.offset + 1n);
          },
        }),
      );
      await expectConsumed(harness(), topic, 10);
      expect(most).toBe(1);
      await subscription.stop();
    });
  });
}

function describeMembership(harness: () => EventLogHarness): void {
  describe('membership', () => {
    test('stop finishes the batch in hand and reads no other', async () => {
      const log = await harness().open();
      const topic = await harness().createTopic(1);
      await log.append(records(topic, 0, 3));
      const [started, mayEnd] = [gate(), gate()];
      let signal: AbortSignal | undefined;
      const options = consumer(harness(), topic, { maxRecords: 1 });
      const subscription = await log.subscribe({
        ...options,
        handle: async (batch) => {
          signal = batch.signal;
          started.open();
          await mayEnd.opened;
          await options.handle(batch);
        },
      });
      await started.opened;
      const stopped = subscription.stop();
      await until('the signal', () => signal!.aborted);
      mayEnd.open();
      await stopped;
      expect(await harness().store.consumed(topic)).toHaveLength(1);
      expect(subscription.assigned()).toEqual([]);
    });

    test('a second member takes its share, and the rest when the first leaves', async () => {
      const [one, two] = [await harness().open(), await harness().open()];
      const topic = await harness().createTopic(4);
      const feed = startFeed(one, topic, 4);
      const options = consumer(harness(), topic, { maxRecords: 3 });
      const first = await one.subscribe(options);
      await until('all of it', () => first.assigned().length === 4);
      const second = await two.subscribe(options);
      await until('a share', () => second.assigned().length === 2 && first.assigned().length === 2);
      expect(new Set([...first.assigned(), ...second.assigned()]).size).toBe(4);
      await first.stop();
      await until('the rest', () => second.assigned().length === 4);
      const appended = await feed.stop();
      await expectConsumed(harness(), topic, appended);
      await second.stop();
    });

    test('a member that takes over waits for the batch in the hand of the other', async () => {
      const [one, two] = [await harness().open(), await harness().open()];
      const topic = await harness().createTopic(2);
      await one.append([...records(topic, 0, 2), ...records(topic, 1, 2)]);
      const mayEnd = gate();
      const running: LogBatch[] = [];
      const options = consumer(harness(), topic);
      const first = await one.subscribe({
        ...options,
        handle: async (batch) => {
          running.push(batch);
          await mayEnd.opened;
          await options.handle(batch);
        },
      });
      await until('both batches', () => running.length === 2);
      const second = await two.subscribe(options);
      await until('a call to end', () => running.some((batch) => batch.signal.aborted));
      expect(second.assigned()).toEqual([]);
      mayEnd.open();
      await until('the share', () => second.assigned().length === 1);
      await expectConsumed(harness(), topic, 4);
      await Promise.all([first.stop(), second.stop()]);
    });

    test('members that come and go at any moment lose nothing and repeat nothing', async () => {
      const topic = await harness().createTopic(4);
      const [one, two] = [await harness().open(), await harness().open()];
      const feed = startFeed(one, topic, 4);
      const options = consumer(harness(), topic, { maxRecords: 5 });
      const lasting = await one.subscribe(options);
      for (let round = 0; round < 6; round += 1) {
        const before = (await harness().store.consumed(topic)).length;
        const member = await two.subscribe(options);
        // Some leave before they hold anything, some while they work.
        if (round % 2 === 0) await until('a share', () => member.assigned().length > 0);
        await member.stop();
        await until('progress', async () => {
          return (await harness().store.consumed(topic)).length > before;
        });
      }
      const appended = await feed.stop();
      await expectConsumed(harness(), topic, appended);
      await lasting.stop();
    });

    test('an owner that lost its partition can commit nothing', async () => {
      const log = await harness().open();
      const topic = await harness().createTopic(1);
      await log.append(records(topic, 0, 2));
      const [started, mayEnd] = [gate(), gate()];
      const outcomes: unknown[] = [];
      const errors: unknown[] = [];
      const options = consumer(harness(), topic, {
        onError: (error, { partition }) => {
          if (partition >= 0) errors.push(error);
        },
      });
      const subscription: LogSubscription = await log.subscribe({
        ...options,
        handle: async (batch) => {
          started.open();
          await mayEnd.opened;
          outcomes.push(batch.epoch);
          await options.handle(batch);
        },
      });
      await started.opened;
      // Another owner, as after a pause of this process that was longer than its session.
      await harness().store.owner.take(topic, 0, await log.bounds(topic, 0));
      mayEnd.open();
      await until('the fence', () => errors.length > 0);
      expect(errors[0]).toMatchObject({ code: 'log.fenced' });
      await expectConsumed(harness(), topic, 2);
      expect(new Set(outcomes).size).toBeGreaterThan(1);
      await subscription.stop();
    });
  });
}

/** Pause between two appends of a feed, so that consumers of small batches keep up, milliseconds. */
const FEED_PAUSE_MS = 10;

/** Appends to all partitions until stopped. */
function startFeed(log: EventLog, topic: string, partitions: number): { stop(): Promise<number> } {
  let isOn = true;
  let appended = 0;
  const feeding = (async () => {
    while (isOn) {
      await log.append(Array.from({ length: partitions }, (_, p) => record(topic, p, 'fed')));
      appended += partitions;
      await delay(FEED_PAUSE_MS);
    }
  })();
  return {
    stop: async () => {
      isOn = false;
      await feeding;
      return appended;
    },
  };
}
