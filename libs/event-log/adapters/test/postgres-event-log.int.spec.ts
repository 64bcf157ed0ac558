import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { describeEventLog, records, until } from '#libs/event-log/contract';
import { LogRetentionWorker, provisionTopics } from '#libs/event-log/adapters';
import { PostgresHarness } from './postgres-harness.js';

let harness: PostgresHarness;
beforeAll(async () => {
  harness = await PostgresHarness.start();
}, 240_000);
afterEach(() => harness.closeLogs());
afterAll(() => harness.stop());

describeEventLog('PostgreSQL', () => harness);

describe('event log in PostgreSQL', () => {
  test('provisioning again changes nothing, another partition count is refused', async () => {
    const topic = await harness.createTopic(3);
    await Promise.all(
      [1, 2, 3].map(() => provisionTopics(harness.url, { [topic]: 3, [`${topic}b`]: 2 })),
    );
    const changed = { code: 'event_log.partitions_changed' };
    await expect(provisionTopics(harness.url, { [topic]: 4 })).rejects.toMatchObject(changed);
  });

  test('a service can append and read by the functions alone', async () => {
    const database = harness.database();
    for (const statement of [
      'SELECT * FROM event_log.log_record',
      'INSERT INTO event_log.log_topic VALUES ($$x$$, 1)',
      'SELECT event_log.trim_before($$x$$, 0, 1)',
    ]) {
      await expect(database.query(statement)).rejects.toMatchObject({ code: '42501' });
    }
  });

  test('retention drops what is both read and old, in order, and nothing else', async () => {
    const topic = await harness.createTopic(2);
    const log = await harness.openAs('metering');
    await log.append(records(topic, 0, 2_500));
    await log.append(records(topic, 1, 3));
    await harness.age(topic, 0, 2_200n, '8 days');
    await harness.age(topic, 1, 3n, '8 days');
    await harness.read(topic, 0, 2_400n);
    await harness.read(topic, 1, 2n);
    const worker = new LogRetentionWorker({
      eventLog: log,
      database: harness.database('metering'),
      keepSeconds: { [topic]: 1 },
      logger: { warn: () => undefined },
    });
    expect(await worker.pass()).toBe(2_202);
    expect(await log.bounds(topic, 0)).toEqual({ earliest: 2_200n, next: 2_500n });
    expect(await log.bounds(topic, 1)).toEqual({ earliest: 2n, next: 3n });
    expect(await worker.pass()).toBe(0);
    await expect(log.read(topic, 0, 2_199n, { maxRecords: 1, maxBytes: 1 })).rejects.toMatchObject({
      code: 'event_log.out_of_range',
    });
    const kept = await log.read(topic, 0, 2_200n, { maxRecords: 1_000, maxBytes: 1_000_000 });
    expect(kept.map(({ offset }) => offset)).toEqual(
      Array.from({ length: 300 }, (_, nth) => 2_200n + BigInt(nth)),
    );
  });

  test('what nobody may drop stays: the control plane for ever, everything for a week', async () => {
    const log = await harness.openAs('metering');
    await expect(log.retire('control', 0, 1n, 1_000_000)).rejects.toThrow('kept for ever');
    const other = await harness.open();
    await expect(other.retire('x', 0, 1n, 1_000_000)).rejects.toMatchObject({
      code: 'event_log.unavailable',
    });
    const topic = await harness.createTopic(1);
    await log.append(records(topic, 0, 2));
    await harness.age(topic, 0, 2n, '6 days');
    expect(await log.retire(topic, 0, 2n, 0)).toBe(0);
  });

  test('a member whose connection broke goes on', async () => {
    const log = await harness.open();
    const topic = await harness.createTopic(1);
    const seen: bigint[] = [];
    const subscription = await log.subscribe({
      group: 'broken',
      topics: [topic],
      owner: harness.store.owner,
      onError: () => undefined,
      maxRecords: 10,
      maxBytes: 10_000,
      lingerMs: () => 0,
      handle: async (batch) => {
        await harness.store.commit(batch);
        seen.push(...batch.records.map(({ offset }) => offset));
        batch.resolve(batch.records.at(-1)!.offset + 1n);
      },
    });
    await log.append(records(topic, 0, 2));
    await until('the first records', () => seen.length === 2);
    await harness.breakSessions();
    await log.append(records(topic, 0, 2));
    await until('the next records', () => seen.length === 4);
    expect(seen).toEqual([0n, 1n, 2n, 3n]);
    await subscription.stop();
  });

  test('the partitions of a member that died are taken at once, not after its session', async () => {
    const [one, two] = [await harness.open(), await harness.open()];
    const topic = await harness.createTopic(1);
    const options = {
      group: 'death',
      topics: [topic],
      owner: harness.store.owner,
      onError: () => undefined,
      maxRecords: 10,
      maxBytes: 10_000,
      lingerMs: () => 0,
      handle: async () => undefined,
    };
    const database = harness.database();
    // A member whose lock nobody holds: its process is gone, its heartbeat is young.
    const dead = 'SELECT * FROM event_log.heartbeat($1, $2, $3, 7, 600000, $4, $5)';
    await database.query(dead, ['death', 'dead', [topic], [], []]);
    const first = await one.subscribe(options);
    const second = await two.subscribe(options);
    // Its session ends in ten minutes.
    await until('the partition', () => first.assigned().length + second.assigned().length === 1);
    expect([...first.assigned(), ...second.assigned()]).toEqual([`${topic}/0`]);
    await Promise.all([first.stop(), second.stop()]);
  });
});
