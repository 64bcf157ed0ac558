import { describe, expect, test } from '@jest/globals';
import type { EventLogHarness } from './event-log-harness.js';
import { record, records } from './event-log-harness.js';

const ALL = { maxRecords: 100_000, maxBytes: 1_000_000_000 };

/** Promises of append, read and bounds. */
export function describeAppendAndRead(harness: () => EventLogHarness): void {
  describe('append and read', () => {
    test('records come back whole, in the order of their append, with offsets from 0', async () => {
      const log = await harness().open();
      const topic = await harness().createTopic(1);
      await log.append(records(topic, 0, 3));
      await log.append([record(topic, 0, 'later')]);
      const read = await log.read(topic, 0, 0n, ALL);
      expect(read.map((found) => found.offset)).toEqual([0n, 1n, 2n, 3n]);
      expect(read.map(({ key }) => key)).toEqual(['key-0', 'key-1', 'key-2', 'key-later']);
      const first = record(topic, 0, '0');
      expect(read[0]).toMatchObject({
        topic,
        partition: 0,
        key: first.key,
        headers: first.headers,
      });
      expect(Buffer.from(read[0]!.value)).toEqual(first.value);
    });

    test('one append keeps the order of each of its partitions', async () => {
      const log = await harness().open();
      const topic = await harness().createTopic(3);
      const other = await harness().createTopic(1);
      const mixed = Array.from({ length: 60 }, (_, index) =>
        index % 4 === 3 ? record(other, 0, String(index)) : record(topic, index % 4, String(index)),
      );
      await log.append(mixed);
      for (const [name, partition, rest] of [
        [topic, 0, 0],
        [topic, 1, 1],
        [topic, 2, 2],
        [other, 0, 3],
      ] as const) {
        const read = await log.read(name, partition, 0n, ALL);
        const expected = mixed.filter((_, index) => index % 4 === rest).map(({ key }) => key);
        expect(read.map(({ key }) => key)).toEqual(expected);
      }
    });

    test('records survive the log that appended them', async () => {
      const topic = await harness().createTopic(1);
      const writer = await harness().open();
      await writer.append(records(topic, 0, 5));
      await writer.close();
      const reader = await harness().open();
      expect(await reader.read(topic, 0, 0n, ALL)).toHaveLength(5);
    });

    test('append times never go back within a partition and are the same at every read', async () => {
      const log = await harness().open();
      const topic = await harness().createTopic(1);
      for (let round = 0; round < 10; round += 1) await log.append(records(topic, 0, 2));
      const times = (await log.read(topic, 0, 0n, ALL)).map((found) => found.appendedAtMs);
      expect(times).toEqual(times.toSorted((a, b) => a - b));
      expect((await log.read(topic, 0, 0n, ALL)).map((found) => found.appendedAtMs)).toEqual(times);
      expect(times[0]).toBeGreaterThan(1_700_000_000_000);
    });

    test('appenders at once leave no gap, and a reader never meets a record below its offset', async () => {
      const topic = await harness().createTopic(2);
      const logs = await Promise.all([1, 2, 3].map(() => harness().open()));
      let isWriting = true;
      const seen: bigint[] = [];
      const reading = (async () => {
        for (let next = 0n; isWriting || seen.length < 300;) {
          const batch = await logs[0]!.read(topic, 0, next, ALL);
          for (const found of batch) seen.push(found.offset);
          next += BigInt(batch.length);
        }
      })();
      const write = async (writer: number): Promise<void> => {
        for (let round = 0; round < 20; round += 1) {
          const both = [0, 1].flatMap((partition) =>
            Array.from({ length: 5 }, (_, nth) =>
              record(topic, partition, `${writer}-${round * 5 + nth}`),
            ),
          );
          // The targets in either order: two appenders must not wait for each other.
          await logs[writer]!.append(writer === 1 ? both.toReversed() : both);
        }
      };
      await Promise.all([0, 1, 2].map((writer) => write(writer)));
      isWriting = false;
      await reading;
      expect(seen).toEqual(Array.from({ length: 300 }, (_, index) => BigInt(index)));
      const labels = (await logs[0]!.read(topic, 0, 0n, ALL)).map(({ key }) => key);
      const ofWriter = labels
        .filter((key) => key.startsWith('key-2-'))
        .map((key) => Number(key.slice(6)));
      expect(ofWriter).toEqual(Array.from({ length: 100 }, (_, index) => index));
    });

    test('a read is bounded by records and bytes, and returns one record whatever its size', async () => {
      const log = await harness().open();
      const topic = await harness().createTopic(1);
      const big = (label: string) => ({
        ...record(topic, 0, label),
        value: Buffer.alloc(1_000, 1),
      });
      await log.append(['a', 'b', 'c', 'd'].map((label) => big(label)));
      expect(await log.read(topic, 0, 0n, { maxRecords: 3, maxBytes: 1_000_000 })).toHaveLength(3);
      expect(await log.read(topic, 0, 1n, { maxRecords: 10, maxBytes: 2_500 })).toHaveLength(2);
      expect(await log.read(topic, 0, 2n, { maxRecords: 10, maxBytes: 10 })).toHaveLength(1);
    });

    describeBounds(harness);
  });
}

function describeBounds(harness: () => EventLogHarness): void {
  test('bounds are exact, also after retention', async () => {
    const log = await harness().open();
    const topic = await harness().createTopic(2);
    expect(await log.bounds(topic, 1)).toEqual({ earliest: 0n, next: 0n });
    await log.append(records(topic, 1, 7));
    expect(await log.bounds(topic, 1)).toEqual({ earliest: 0n, next: 7n });
    await harness().dropBelow(topic, 1, 3n);
    expect(await log.bounds(topic, 1)).toEqual({ earliest: 3n, next: 7n });
    expect(await log.bounds(topic, 0)).toEqual({ earliest: 0n, next: 0n });
    const rest = await log.read(topic, 1, 3n, ALL);
    expect(rest.map(({ offset }) => offset)).toEqual([3n, 4n, 5n, 6n]);
  });

  test('reading outside of the bounds is an error, never a jump', async () => {
    const log = await harness().open();
    const topic = await harness().createTopic(1);
    await log.append(records(topic, 0, 4));
    await harness().dropBelow(topic, 0, 2n);
    const outOfRange = { code: 'event_log.out_of_range' };
    await expect(log.read(topic, 0, 1n, ALL)).rejects.toMatchObject(outOfRange);
    await expect(log.read(topic, 0, 5n, ALL)).rejects.toMatchObject(outOfRange);
    expect(await log.read(topic, 0, 4n, ALL)).toEqual([]);
  });

  test('topics have the partitions they were made with; others are unknown', async () => {
    const log = await harness().open();
    const topic = await harness().createTopic(3);
    const unknown = { code: 'event_log.unknown_topic' };
    expect(await log.partitions(topic)).toBe(3);
    await expect(log.partitions(`${topic}-not`)).rejects.toMatchObject(unknown);
    await expect(log.bounds(topic, 3)).rejects.toMatchObject(unknown);
    await expect(log.append([record(topic, 3, 'x')])).rejects.toMatchObject(unknown);
  });

  test('an append that names an unknown partition appends nothing', async () => {
    const log = await harness().open();
    const topic = await harness().createTopic(1);
    await expect(log.append([record(topic, 0, 'a'), record(topic, 9, 'b')])).rejects.toMatchObject({
      code: 'event_log.unknown_topic',
    });
    expect(await log.bounds(topic, 0)).toEqual({ earliest: 0n, next: 0n });
  });
}
