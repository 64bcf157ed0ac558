/**
 * Guarantee: records that the log lost are missed, asked for and taken in when they come again; what
 * its emitter gave up is closed as lost and alarmed.
 * Method: metering on a real PostgreSQL, its event log, and the embedded ClickHouse engine.
 */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';

import { TOPICS, type EmitterRangeV1 } from '#libs/events';
import { rpcClient } from '#libs/platform/rpc';
import { eventually, type TestPostgres } from '#libs/testing';
import { METERING_PROGRESS_METHODS, type MeteringProgress } from '#libs/usage/core';

import { advanceStream, emptyStream, type StreamState } from '../src/domain/emitter-streams.js';
import { StreamStore } from '../src/sink/stream-store.js';
import { CHARGE, MeteringBench } from './metering-bench.js';
import { recordsOf, startMeteringPostgres, type Member } from './metering-fixture.js';
import { PARTITIONS, rejected } from './sample-events.js';

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

async function asked({ eventLog }: Member): Promise<readonly EmitterRangeV1[]> {
  const records = await recordsOf(eventLog, TOPICS.emitterResend, 0);
  return records.map(({ value }) => JSON.parse(Buffer.from(value).toString()) as EmitterRangeV1);
}

function range(fromSeq: number, toSeq: number): EmitterRangeV1 {
  const { emitterId: emitter_id } = bench.emitter;
  return { emitter_id, lane: 0, from_seq: String(fromSeq), to_seq: String(toSeq) };
}

async function gapRows({ database }: Member): Promise<readonly unknown[]> {
  const { rows } = await database.query(
    `SELECT from_seq::integer, to_seq::integer, lost, resolved_at IS NULL AS open
     FROM emitter_gap ORDER BY from_seq`,
  );
  return rows;
}

async function rejectionRows(): Promise<number> {
  const session = bench.chdb.engine.session('write');
  try {
    const sql = 'SELECT count() AS n FROM raw_rejection_v1';
    const [row] = await session.rows<{ n: string }>({ name: 'test.rejections', sql });
    return Number(row!.n);
  } finally {
    await session.close();
  }
}

async function missing({ rpc }: Member): Promise<number> {
  const port = rpcClient<MeteringProgress>(rpc, 'metering.progress', METERING_PROGRESS_METHODS);
  return (await port.progress()).missing.length;
}

test('a hole is found with the next record, asked for once, and filled by what comes again', async () => {
  const at = await bench.member();
  const records = [1, 2, 3, 4, 5, 6].map((n) => bench.emitter.completed(bench.sample(n)));
  // The tail of the log was lost: 3 to 5 were acknowledged and are gone.
  await at.eventLog.append([records[0]!, records[1]!, records[5]!]);
  await bench.caughtUp(at);
  expect(await missing(at)).toBe(1);
  expect(await eventually(async () => (await asked(at)).length > 0 && asked(at))).toEqual([
    range(3, 5),
  ]);
  await at.eventLog.append([records[3]!]);
  await bench.caughtUp(at);
  expect(await gapRows(at)).toEqual([
    { from_seq: 3, to_seq: 3, lost: false, open: true },
    { from_seq: 5, to_seq: 5, lost: false, open: true },
  ]);
  // The emitter sends the whole range, and then all of it once more.
  await at.eventLog.append(records.slice(2, 5));
  await at.eventLog.append(records.slice(2, 5));
  await bench.caughtUp(at);
  expect(await missing(at)).toBe(0);
  expect(await bench.sums()).toEqual({ rows: 6, events: 6, chargePicoUsd: 6n * CHARGE });
});

test('a gap that stays open is asked for again', async () => {
  const at = await bench.member();
  await at.eventLog.append([bench.emitter.completed(bench.sample(2), 2n)]);
  await eventually(async () => (await asked(at)).length > 0);
  const before = (await asked(at)).length;
  await at.database.query(
    `UPDATE emitter_gap SET asked_at = clock_timestamp() - interval '31 seconds'`,
  );
  await eventually(async () => (await asked(at)).length > before, { deadlineMs: 60_000 });
  for (const each of await asked(at)) expect(each).toEqual(range(1, 1));
});

test('the pause before a gap is asked for again doubles from 30 s up to 10 min', async () => {
  const database = bench.postgres.database('metering');
  // What is not due stays so for half a minute, should the machine stand still before the look.
  const rows = [
    { seq: 1, asks: 0, ageS: null },
    { seq: 2, asks: 1, ageS: 0 },
    { seq: 3, asks: 1, ageS: 31 },
    { seq: 4, asks: 3, ageS: 90 },
    { seq: 5, asks: 3, ageS: 121 },
    { seq: 6, asks: 500, ageS: 570 },
    { seq: 7, asks: 500, ageS: 601 },
  ];
  for (const { seq, asks, ageS } of rows) {
    await database.query(
      `INSERT INTO emitter_gap (emitter_id, lane, from_seq, to_seq, asks, asked_at)
       VALUES ($1, 0, $2, $2, $3, clock_timestamp() - make_interval(secs => $4))`,
      [bench.emitter.emitterId, seq, asks, ageS],
    );
  }
  const due = await database.transaction((tx) => new StreamStore().takeDue(tx, 10));
  const isDue = new Map(due.map(({ fromSeq, asks }) => [Number(fromSeq), asks]));
  expect(isDue).toEqual(
    new Map([
      [1, 1],
      [3, 2],
      [5, 4],
      [7, 501],
    ]),
  );
  const nothing = await database.transaction((tx) => new StreamStore().takeDue(tx, 10));
  expect(nothing).toEqual([]);
});

test('a range that its emitter gave up is closed as lost, counted, and missed no more', async () => {
  const at = await bench.member();
  await at.eventLog.append([bench.emitter.completed(bench.sample(1), 1n)]);
  await at.eventLog.append([bench.emitter.completed(bench.sample(9), 9n)]);
  await at.eventLog.append([bench.emitter.lost(0, 2n, 5n)]);
  await bench.caughtUp(at);
  expect(await gapRows(at)).toEqual([
    { from_seq: 2, to_seq: 5, lost: true, open: false },
    { from_seq: 6, to_seq: 8, lost: false, open: true },
  ]);
  await at.eventLog.append([bench.emitter.lost(0, 2n, 8n)]);
  await bench.caughtUp(at);
  expect(await missing(at)).toBe(0);
  const mark = await at.database.query(
    'SELECT contiguous_seq::integer, high_seq::integer FROM emitter_watermark',
  );
  expect(mark.rows).toEqual([{ contiguous_seq: 11, high_seq: 11 }]);
  // Counted behind the commit that the position tells of.
  await eventually(async () =>
    (await at.runtime.metrics.metrics()).includes('metering_records_lost_total 7\n'),
  );
  expect(await bench.sums()).toMatchObject({ rows: 2 });
  const letters = await at.database.query('SELECT 1 FROM dead_letter');
  expect(letters.rowCount).toBe(0);
});

/** A stream after sequences have arrived. */
function after(before: StreamState, ...sequences: readonly bigint[]): StreamState {
  return sequences.reduce((state, sequence) => advanceStream(state, sequence)!, before);
}

test.each([
  { what: 'its head', lost: [5n, 6n], arrived: [7n, 8n, 9n], open: ['7-9'], left: [] },
  { what: 'its middle', lost: [7n, 7n], arrived: [9n], open: ['5-6', '8-9'], left: ['5-6', '8-8'] },
])(
  'a gap of which $what was given up meanwhile is not opened anew by what was formed before',
  async ({ lost: [fromSeq, toSeq], arrived, open, left }) => {
    const database = bench.postgres.database('metering');
    const store = new StreamStore();
    const empty = emptyStream(bench.emitter.emitterId, PARTITIONS);
    const { emitterId, lane } = empty;
    const save = (before: StreamState, ...sequences: readonly bigint[]): Promise<unknown> =>
      database.transaction((tx) =>
        store.save(tx, [{ before, after: after(before, ...sequences) }], 0),
      );
    const load = async (): Promise<StreamState> => (await store.load(database, [empty]))[0]!;
    const openNow = async (): Promise<readonly string[]> =>
      (await load()).gaps.map((gap) => `${gap.fromSeq}-${gap.toSeq}`);
    await save(empty, 1n, 2n, 3n, 4n, 10n);

    const stale = await load();
    await database.transaction((tx) =>
      store.closeLost(tx, { emitterId, lane, fromSeq: fromSeq!, toSeq: toSeq! }),
    );
    await expect(save(stale, ...arrived)).rejects.toMatchObject({
      code: 'metering.streams_moved',
      retryable: true,
    });
    expect(await openNow()).toEqual(open);
    await save(await load(), ...arrived);
    expect(await openNow()).toEqual(left);
  },
);

test('refusals that come again while their emitter gives up the rest of the range are booked once', async () => {
  const at = await bench.member();
  const records = Array.from({ length: 10 }, (_, n) =>
    bench.emitter.rejected(rejected(n + 1, {}, bench.clock.nowMs())),
  );
  await at.eventLog.append([...records.slice(0, 4), records[9]!]);
  await bench.caughtUp(at);
  expect(await gapRows(at)).toEqual([{ from_seq: 5, to_seq: 9, lost: false, open: true }]);
  // The other partition closes the range between the rows of this batch and its commit.
  let inserts = 0;
  bench.store.afterRejections = async () => {
    inserts += 1;
    if (inserts > 1) return;
    await at.eventLog.append([bench.emitter.lost(0, 5n, 6n, TOPICS.requestRejected)]);
    await eventually(async () => (await gapRows(at)).length === 2, { deadlineMs: 60_000 });
  };
  await at.eventLog.append(records.slice(6, 9));
  await bench.caughtUp(at);
  expect(inserts).toBeGreaterThan(0);
  expect(await missing(at)).toBe(0);
  expect(await gapRows(at)).toEqual([
    { from_seq: 5, to_seq: 6, lost: true, open: false },
    { from_seq: 7, to_seq: 9, lost: false, open: false },
  ]);
  await at.eventLog.append(records.slice(6, 9));
  await bench.caughtUp(at);
  expect(await rejectionRows()).toBe(8);
});

test('nobody gives up the records of another emitter', async () => {
  const at = await bench.member();
  await at.eventLog.append([bench.emitter.completed(bench.sample(3), 3n)]);
  const forged = bench.emitter.lost(0, 1n, 2n);
  const headers = { ...forged.headers, ce_emitterid: 'f'.repeat(32), ce_sequence: '1' };
  await at.eventLog.append([{ ...forged, headers }]);
  await bench.caughtUp(at);
  expect(await gapRows(at)).toEqual([{ from_seq: 1, to_seq: 2, lost: false, open: true }]);
  const letters = await at.database.query('SELECT class FROM dead_letter');
  expect(letters.rows).toEqual([{ class: 'malformed' }]);
});

test('unread records that the log dropped stop the partition, and their emitters are asked', async () => {
  const first = await bench.member();
  const records = [1, 2, 3, 4, 5].map((n) => bench.emitter.completed(bench.sample(n)));
  await first.eventLog.append(records.slice(0, 1));
  await bench.caughtUp(first);
  await first.stop();
  await bench.append(records.slice(1));
  const admin = bench.postgres.database(null);
  await admin.query(
    `WITH gone AS (
       UPDATE event_log.log_partition SET earliest_offset = 3
       WHERE topic = 'request.completed' AND partition = 0 RETURNING partition_id)
     DELETE FROM event_log.log_record r USING gone
     WHERE r.partition_id = gone.partition_id AND "offset" < 3`,
  );

  const at = await bench.member();
  expect(await eventually(async () => (await asked(at)).length > 0 && asked(at))).toEqual([
    range(2, 3),
  ]);
  await eventually(async () =>
    (await at.runtime.metrics.metrics()).includes(
      'metering_partition_stopped{topic="request.completed",partition="0"} 1',
    ),
  );
  expect(await bench.sums()).toMatchObject({ rows: 1 });

  // An operator lets it go on; the range of the next batch covers what is gone.
  await admin.query(
    `UPDATE metering.log_position SET next_offset = 3 WHERE topic = 'request.completed' AND partition = 0`,
  );
  await at.eventLog.append(records.slice(1, 3));
  await eventually(async () => (await bench.sums()).rows === 5, { deadlineMs: 60_000 });
  // Rows are there before the batch is committed, and with it the streams.
  await bench.caughtUp(at);
  expect(await bench.sums()).toEqual({ rows: 5, events: 5, chargePicoUsd: 5n * CHARGE });
  expect(await missing(at)).toBe(0);
  const plans = await at.database.query(
    `SELECT first_offset::integer AS first, last_offset::integer AS last FROM sink_plan
     WHERE topic = 'request.completed' AND partition = 0 ORDER BY 1 LIMIT 2`,
  );
  expect(plans.rows[0]).toMatchObject({ first: 0, last: 0 });
  expect(plans.rows[1]).toMatchObject({ first: 1 });
});
