/**
 * Guarantee: whatever is read, asked for or lost a second time changes no figure, and while an engine
 * is away nothing moves that has to come back.
 * Method: metering on a real PostgreSQL, its event log, and the embedded ClickHouse engine.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';

import type { LogRecordInput } from '#libs/event-log/core';
import { TOPICS, type UsageRatedV1 } from '#libs/events';
import { rpcClient } from '#libs/platform/rpc';
import { eventually, type TestPostgres } from '#libs/testing';
import { RATED_REPLAY_METHODS, RATED_REPLAY_SERVICE, type RatedReplay } from '#libs/usage/core';

import { CHARGE, MeteringBench } from './metering-bench.js';
import { recordsOf, startMeteringPostgres, type Member } from './metering-fixture.js';
import { keyInPartition } from './sample-events.js';

let keeper: TestPostgres;
let bench: MeteringBench;

beforeAll(async () => {
  keeper = await startMeteringPostgres();
});
afterAll(() => keeper.stop());
beforeEach(async () => {
  bench = await MeteringBench.open();
});
afterEach(() => bench.close());

/** Three batches of two attempts each in partition 0. */
async function threeBatches(at: Member): Promise<void> {
  for (const first of [1, 3, 5]) {
    await at.eventLog.append(
      [first, first + 1].map((n) => bench.emitter.completed(bench.sample(n))),
    );
    await bench.caughtUp(at);
  }
  await eventually(async () => (await rated(at)).length === 3);
}

async function rated({ eventLog }: Member): Promise<readonly unknown[]> {
  const records = await recordsOf(eventLog, TOPICS.usageRated, 0);
  return records.map(({ key, value, headers }) => ({
    key,
    body: JSON.parse(Buffer.from(value).toString()) as unknown,
    resend: headers['resend'],
  }));
}

describe('an operator who sets the offset back to 0', () => {
  test.each(['while metering runs', 'while it is stopped'])('%s changes nothing', async (when) => {
    const first = await bench.member();
    await threeBatches(first);
    const before = { sums: await bench.sums(), rated: await rated(first) };
    if (when !== 'while metering runs') await first.stop();
    const admin = bench.postgres.database(null);
    await admin.query('UPDATE metering.log_position SET next_offset = 0');
    const at = when === 'while metering runs' ? first : await bench.member();
    await at.eventLog.append([bench.emitter.completed(bench.sample(7))]);
    await eventually(async () => (await bench.sums()).rows === 7);
    await bench.caughtUp(at);
    expect(before.sums).toEqual({ rows: 6, events: 6, chargePicoUsd: 6n * CHARGE });
    expect(await bench.sums()).toEqual({ rows: 7, events: 7, chargePicoUsd: 7n * CHARGE });
    await eventually(async () => (await rated(at)).length === 4);
    expect((await rated(at)).slice(0, 3)).toEqual(before.rated);
  });
});

describe('rated messages that a receiver misses', () => {
  function replayOf({ rpc }: Member): RatedReplay {
    return rpcClient<RatedReplay>(rpc, RATED_REPLAY_SERVICE, RATED_REPLAY_METHODS);
  }

  test('are sent again from the outbox, unchanged but for a mark, from the offset asked for', async () => {
    const at = await bench.member();
    await threeBatches(at);
    const before = (await rated(at)) as readonly { key: string; body: unknown }[];
    await replayOf(at).replay(TOPICS.requestCompleted, 0, '3');
    const after = (await rated(at)).slice(3);
    expect(after).toEqual(before.slice(1).map(({ key, body }) => ({ key, body, resend: '1' })));
  });

  test('are formed again from the log when the outbox keeps them no longer', async () => {
    const at = await bench.member();
    await threeBatches(at);
    const before = (await rated(at)) as readonly { key: string; body: object }[];
    await at.database.query('DELETE FROM outbox');
    await replayOf(at).replay(TOPICS.requestCompleted, 0, '0');
    const after = (await rated(at)).slice(3);
    // Watermarks are of the moment; a repeat says nothing about them.
    expect(after).toEqual(
      before.map(({ key, body }) => ({ key, body: { ...body, watermarks: [] }, resend: '1' })),
    );
  });

  test('reach as far as the finished batches, with rows or without, and no further', async () => {
    const at = await bench.member();
    const replay = replayOf(at);
    expect(await replay.finishedThrough()).toEqual([]);
    await threeBatches(at);
    const sent = await replay.replay(TOPICS.requestCompleted, 0, '3');
    const finished = [{ topic: TOPICS.requestCompleted, partition: 0, nextOffset: '6' }];
    expect({ sent, finished: await replay.finishedThrough() }).toEqual({ sent: '6', finished });
    // A repeat: its batch has no row, and is announced all the same.
    await at.eventLog.append(await recordsAgain(at));
    await bench.caughtUp(at);
    const { next } = await at.eventLog.bounds(TOPICS.requestCompleted, 0);
    expect(await replay.finishedThrough()).toEqual([{ ...finished[0], nextOffset: String(next) }]);
    await eventually(async () => (await lastRated(at)) === next - 1n);
    await at.database.query(`UPDATE sink_plan SET state = 'PREPARED', done_at = NULL
      WHERE first_offset = (SELECT max(first_offset) FROM sink_plan)`);
    expect(await replay.finishedThrough()).toEqual(finished);
  });

  /** The first record of partition 0 as it would be appended once more. */
  async function recordsAgain({ eventLog }: Member): Promise<readonly LogRecordInput[]> {
    const [first] = await recordsOf(eventLog, TOPICS.requestCompleted, 0);
    const { topic, partition, key, headers, value } = first!;
    return [{ topic, partition, key, headers, value }];
  }

  /** The last source offset that a message has announced. */
  async function lastRated({ eventLog }: Member): Promise<bigint> {
    const records = await recordsOf(eventLog, TOPICS.usageRated, 0);
    const { source } = JSON.parse(Buffer.from(records.at(-1)!.value).toString()) as UsageRatedV1;
    return BigInt(source.last);
  }

  test('are refused where no finished batch holds the offset', async () => {
    const at = await bench.member();
    await threeBatches(at);
    for (const [topic, offset] of [
      [TOPICS.requestCompleted, '6'],
      [TOPICS.requestRejected, '0'],
      [TOPICS.requestCompleted, '-1'],
    ] as const) {
      await expect(replayOf(at).replay(topic, 0, offset)).rejects.toMatchObject({
        code: 'metering.rated_unknown',
      });
    }
    expect((await rated(at)).length).toBe(3);
  });
});

describe('a ledger that is away or refuses to write', () => {
  test('keeps offsets where they are, tells the probe, and goes on by itself', async () => {
    const at = await bench.member();
    await bench.caughtUp(at);
    let tries = 0;
    const away = async (): Promise<void> => {
      tries += 1;
      throw new Error('the engine is away');
    };
    bench.store.beforeInsert = away;
    bench.store.beforeDigest = away;
    const keys = [0, 1, 2].map((partition) => keyInPartition(partition));
    await at.eventLog.append(
      keys.map((key_id, n) => bench.emitter.completed(bench.sample(n, { key_id }))),
    );
    await eventually(() => tries > 12);
    const { rows } = await at.database.query<{ next: bigint }>(
      `SELECT max(next_offset) AS next FROM log_position WHERE topic = 'request.completed'`,
    );
    expect(rows).toEqual([{ next: 0n }]);
    const prepared = await at.database.query(`SELECT 1 FROM sink_plan WHERE state = 'PREPARED'`);
    expect(prepared.rowCount).toBeLessThanOrEqual(3);
    bench.store.beforeInsert = async () => undefined;
    bench.store.beforeDigest = async () => undefined;
    await bench.caughtUp(at);
    expect(await bench.sums()).toEqual({ rows: 3, events: 3, chargePicoUsd: 3n * CHARGE });
  });

  test.each([
    {
      fault: 'too many parts',
      settings: { parts_to_throw_insert: '1', parts_to_delay_insert: '1' },
    },
    { fault: 'a table that is read-only', settings: { table_readonly: '1' } },
    {
      fault: 'a full disk',
      settings: { min_free_disk_bytes_to_perform_insert: '1000000000000000000' },
    },
  ])('because of $fault is waited for, and each row is there once', async ({ settings }) => {
    const at = await bench.member();
    await bench.caughtUp(at);
    await bench.ledger('SYSTEM STOP MERGES raw_usage_v1');
    await at.eventLog.append([bench.emitter.completed(bench.sample(1))]);
    await bench.caughtUp(at);
    const set = Object.entries(settings).map(([name, value]) => `${name} = ${value}`);
    await bench.ledger(`ALTER TABLE raw_usage_v1 MODIFY SETTING ${set.join(', ')}`);
    await at.eventLog.append([2, 3].map((n) => bench.emitter.completed(bench.sample(n))));
    // Three rounds of tries, each refused by the engine itself.
    await eventually(() => refusals(at) >= 3, { deadlineMs: 60_000 });
    await eventually(async () =>
      (await at.runtime.metrics.metrics()).includes(
        'metering_partition_stopped{topic="request.completed",partition="0"} 1',
      ),
    );
    expect(await bench.sums()).toMatchObject({ rows: 1 });
    const { rows } = await at.database.query(
      `SELECT next_offset::integer AS next FROM log_position
       WHERE topic = 'request.completed' AND partition = 0`,
    );
    expect(rows).toEqual([{ next: 1 }]);
    const letters = await at.database.query('SELECT 1 FROM dead_letter');
    expect(letters.rowCount).toBe(0);
    await bench.ledger(
      `ALTER TABLE raw_usage_v1 RESET SETTING ${Object.keys(settings).join(', ')}`,
    );
    await bench.ledger('SYSTEM START MERGES raw_usage_v1');
    await bench.caughtUp(at);
    expect(await bench.sums()).toEqual({ rows: 3, events: 3, chargePicoUsd: 3n * CHARGE });
  });
});

/** How often the partition could not go on. */
function refusals({ errors }: Member): number {
  return errors.filter((line) => line.includes('a partition cannot go on')).length;
}

test('with a deduplication window of 1 a batch whose answer was lost is still there once', async () => {
  const at = await bench.member();
  await bench.caughtUp(at);
  await bench.ledger(
    'ALTER TABLE raw_usage_v1 MODIFY SETTING non_replicated_deduplication_window = 1',
  );
  let isLost = false;
  bench.store.afterInsert = async () => {
    bench.store.afterInsert = async () => undefined;
    isLost = true;
    // The window forgets the token of this batch before anyone looks.
    const other = { batchId: 'b'.repeat(64), token: 'b'.repeat(64) };
    await bench.store.inner.insertUsage(other, bench.store.lastRows);
    await bench.store.inner.deleteBatch('usage', other.batchId);
    throw new Error('the answer was lost');
  };
  await at.eventLog.append([1, 2].map((n) => bench.emitter.completed(bench.sample(n))));
  await bench.caughtUp(at);
  expect(isLost).toBe(true);
  expect(await bench.sums()).toEqual({ rows: 2, events: 2, chargePicoUsd: 2n * CHARGE });
});
