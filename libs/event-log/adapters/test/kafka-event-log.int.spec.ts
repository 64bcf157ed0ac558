import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { describeEventLog, gate, records, until } from '#libs/event-log/contract';
import { EphemeralPartitionOwner } from '#libs/event-log/core';
import { KafkaHarness } from './kafka-harness.js';

let harness: KafkaHarness;
beforeAll(async () => {
  harness = await KafkaHarness.start();
}, 240_000);
afterEach(() => harness.closeLogs());
afterAll(() => harness.stop());

describeEventLog('Kafka', () => harness);

describe('event log on Kafka', () => {
  test('provisioning again changes nothing, another partition count is refused', async () => {
    const topic = await harness.createTopic(3);
    await Promise.all([1, 2, 3].map(() => harness.provision({ [topic]: 3, [`${topic}b`]: 2 })));
    const changed = { code: 'event_log.partitions_changed' };
    await expect(harness.provision({ [topic]: 4 })).rejects.toMatchObject(changed);
    expect(await (await harness.open()).partitions(`${topic}b`)).toBe(2);
  });

  test('the group stores its position for displays, and never reads it', async () => {
    const log = await harness.open();
    const topic = await harness.createTopic(1);
    await log.append(records(topic, 0, 4));
    const options = {
      group: `shown-${topic}`,
      topics: [topic],
      owner: harness.store.owner,
      onError: () => undefined,
      maxRecords: 10,
      maxBytes: 10_000,
      lingerMs: 0,
      handle: async (batch: Parameters<typeof harness.store.commit>[0]) => {
        await harness.store.commit(batch);
        batch.resolve(batch.records.at(-1)!.offset + 1n);
      },
    };
    const subscription = await log.subscribe(options);
    await until('the position', async () => {
      return (await harness.shownOffset(options.group, topic, 0)) === '4';
    });
    await subscription.stop();
    // A consumer that starts anew in the same group: its own store decides, not the group's.
    const seen: bigint[] = [];
    const anew = await log.subscribe({
      ...options,
      owner: new EphemeralPartitionOwner('earliest'),
      handle: async (batch) => {
        seen.push(...batch.records.map(({ offset }) => offset));
        batch.resolve(batch.records.at(-1)!.offset + 1n);
      },
    });
    await until('all records again', () => seen.length >= 4);
    expect(seen).toEqual([0n, 1n, 2n, 3n]);
    await anew.stop();
  });

  test('a member tells how far it is behind', async () => {
    const log = await harness.open();
    const topic = await harness.createTopic(1);
    await log.append(records(topic, 0, 6));
    const [started, mayEnd] = [gate(), gate()];
    const subscription = await log.subscribe({
      group: `lag-${topic}`,
      topics: [topic],
      owner: harness.store.owner,
      onError: () => undefined,
      maxRecords: 2,
      maxBytes: 10_000,
      lingerMs: 0,
      handle: async (batch) => {
        started.open();
        await mayEnd.opened;
        await harness.store.commit(batch);
        batch.resolve(batch.records.at(-1)!.offset + 1n);
      },
    });
    await started.opened;
    const [first] = await log.read(topic, 0, 0n, { maxRecords: 1, maxBytes: 1 });
    const behind = { topic, partition: 0, events: 6n, oldestAppendedAtMs: first!.appendedAtMs };
    expect(subscription.lag()).toEqual([behind]);
    mayEnd.open();
    const level = { topic, partition: 0, events: 0n, oldestAppendedAtMs: null };
    await until('no lag', () => subscription.lag()[0]!.events === 0n);
    expect(subscription.lag()).toEqual([level]);
    await subscription.stop();
  });

  test('records of 64 KiB travel, and an append above the bound is refused', async () => {
    const log = await harness.open();
    const topic = await harness.createTopic(1);
    const big = { ...records(topic, 0, 1)[0]!, value: Buffer.alloc(64 * 1024, 7) };
    await log.append(Array.from({ length: 60 }, () => big));
    const read = await log.read(topic, 0, 30n, { maxRecords: 100, maxBytes: 64 * 1024 * 1024 });
    expect(read).toHaveLength(30);
    expect(Buffer.from(read[29]!.value).equals(big.value)).toBe(true);
    const tooMany = Array.from({ length: 257 }, () => big);
    await expect(log.append(tooMany)).rejects.toMatchObject({ code: 'event_log.too_large' });
    expect(await log.bounds(topic, 0)).toEqual({ earliest: 0n, next: 60n });
  });

  test('retention below a position stops that partition alone, and nothing jumps', async () => {
    const log = await harness.open();
    const topic = await harness.createTopic(2);
    await log.append([...records(topic, 0, 5), ...records(topic, 1, 5)]);
    const errors: unknown[] = [];
    const seen: string[] = [];
    const mayGoOn = gate();
    const owner = new EphemeralPartitionOwner('earliest');
    const subscription = await log.subscribe({
      group: `gone-${topic}`,
      topics: [topic],
      owner,
      onError: (error, at) => errors.push({ code: (error as { code?: string }).code, ...at }),
      maxRecords: 1,
      maxBytes: 10_000,
      lingerMs: 0,
      handle: async (batch) => {
        const next = batch.records[0]!.offset + 1n;
        seen.push(`${batch.partition}/${next - 1n}`);
        if (batch.partition === 0) {
          await mayGoOn.opened;
          // What it had read ahead would be good; a failure makes it read anew.
          owner.advance(topic, 0, next);
          throw new Error('the handler failed after its commit');
        }
        owner.advance(topic, 1, next);
        batch.resolve(next);
      },
    });
    await until('the other partition', () => seen.filter((at) => at.startsWith('1/')).length === 5);
    await harness.dropBelow(topic, 0, 3n);
    mayGoOn.open();
    const gone = { code: 'event_log.out_of_range', topic, partition: 0 };
    await until('the report', () => errors.length > 1);
    expect(errors.slice(1)).toContainEqual(gone);
    expect(seen.filter((at) => at.startsWith('0/'))).toEqual(['0/0']);
    await subscription.stop();
  });
});
