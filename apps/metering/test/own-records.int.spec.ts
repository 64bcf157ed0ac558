/**
 * Guarantee: what metering itself appends to the log (parked records that are read again) arrives, also
 * when the log loses its end: it is sent again until it has come back, and booked once (C5).
 * Method: metering with its HTTP routes on a real PostgreSQL, its event log, whose last records are
 * dropped as a lost disk would, and the embedded ClickHouse engine.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';

import { TOPICS } from '#libs/events';
import type { LogRecordInput } from '#libs/event-log/core';
import { eventually, type TestPostgres } from '#libs/testing';

import { CHARGE, MeteringBench } from './metering-bench.js';
import {
  recordsOf,
  startMeteringPostgres,
  type LedgerSums,
  type Member,
} from './metering-fixture.js';
import { keyInPartition } from './sample-events.js';

const SECRET = 'operator-secret-of-the-tests';

let keeper: TestPostgres;
let bench: MeteringBench;
let at: Member;
let url: string;

beforeAll(async () => {
  keeper = await startMeteringPostgres();
});
afterAll(() => keeper.stop());
beforeEach(async () => {
  bench = await MeteringBench.open();
  await startMetering();
});
afterEach(() => bench.close());

async function startMetering(): Promise<void> {
  at = await bench.member({ adminApiKey: SECRET });
  await at.app.listen(0, '127.0.0.1');
  url = `${await at.app.getUrl()}/api/dead-letters/metering/request.completed/0`;
}

/** Parks a record as an older release would have. */
async function park(
  record: LogRecordInput,
  offset: number,
  faultClass = 'malformed',
): Promise<void> {
  await at.database.query(
    `INSERT INTO dead_letter (topic, partition, "offset", class, error, key, headers, payload, booked)
     VALUES ($1, 0, $2, $3, 'of an older release', $4, $5, $6, false)`,
    [
      record.topic,
      offset,
      faultClass,
      Buffer.from(record.key),
      Buffer.from(JSON.stringify(record.headers)),
      record.value,
    ],
  );
}

async function retry(offset: number): Promise<void> {
  const headers = { authorization: `ADMIN ${SECRET}` };
  const response = await fetch(`${url}/${offset}/retry`, { method: 'POST', headers });
  expect(await response.json()).toMatchObject({ state: 'retried' });
}

/** Waits until the relay has sent everything that metering wrote for `request.completed`. */
async function allSent(): Promise<void> {
  await eventually(
    async () => {
      const { rows } = await at.database.query(
        `SELECT 1 FROM outbox WHERE topic = $1 AND sent_at IS NULL`,
        [TOPICS.requestCompleted],
      );
      return rows.length === 0;
    },
    { deadlineMs: 30_000 },
  );
}

/** What a disk that lost its last writes does to partition 0. */
async function loseFrom(offset: number): Promise<void> {
  await bench.postgres.database(null).query(
    `WITH cut AS (
       UPDATE event_log.log_partition SET next_offset = $2
       WHERE topic = $1 AND partition = 0 RETURNING partition_id)
     DELETE FROM event_log.log_record r USING cut
     WHERE r.partition_id = cut.partition_id AND "offset" >= $2`,
    [TOPICS.requestCompleted, offset],
  );
}

/** Sends two letters into the log, of which the log loses those from an offset on, unread. */
async function retriedAndLost(letters: readonly number[], from: number): Promise<void> {
  for (const number of letters) await park(bench.emitter.completed(bench.sample(number)), number);
  bench.store.beforeInsert = async () => {
    throw new Error('the engine is away');
  };
  for (const number of letters) await retry(number);
  await allSent();
  await at.stop();
  await bench.postgres.database('metering').query('DELETE FROM sink_plan');
  await loseFrom(from);
  bench.store.beforeInsert = async () => undefined;
}

/** Lets the time pass after which a record is taken for lost. */
async function minutesLater(minutes: number): Promise<void> {
  await bench.postgres
    .database('metering')
    .query('UPDATE outbox SET sent_at = sent_at - make_interval(mins => $1)', [minutes]);
}

async function openGaps(): Promise<number> {
  const { rows } = await at.database.query('SELECT 1 FROM emitter_gap WHERE resolved_at IS NULL');
  return rows.length;
}

/** What the ledger holds once nothing is missing and everything is read. */
async function settledSums(rows: number): Promise<LedgerSums> {
  await eventually(async () => (await bench.sums()).rows === rows, { deadlineMs: 60_000 });
  await bench.caughtUp(at, 60_000);
  await eventually(async () => (await openGaps()) === 0, { deadlineMs: 60_000 });
  return bench.sums();
}

function onceEach(rows: number): object {
  return { rows, events: rows, chargePicoUsd: BigInt(rows) * CHARGE };
}

describe('parked records that were read again and lost with the end of the log', () => {
  test('are sent again though nothing comes after them', async () => {
    await retriedAndLost([1, 2], 0);
    await minutesLater(10);
    await startMetering();
    expect(await settledSums(2)).toEqual(onceEach(2));
  });

  test('are sent again when a later one shows that they are missing', async () => {
    await retriedAndLost([1, 2], 0);
    await startMetering();
    await park(bench.emitter.completed(bench.sample(3)), 3);
    await retry(3);
    await eventually(async () => (await openGaps()) === 1, { deadlineMs: 30_000 });
    await minutesLater(1);
    expect(await settledSums(3)).toEqual(onceEach(3));
  });

  test('are told to be lost when the outbox has them no longer', async () => {
    await retriedAndLost([1, 2], 0);
    await bench.postgres
      .database('metering')
      .query('DELETE FROM outbox WHERE topic = $1', [TOPICS.requestCompleted]);
    await startMetering();
    await park(bench.emitter.completed(bench.sample(3)), 3);
    await retry(3);
    expect(await settledSums(1)).toEqual(onceEach(1));
    const { rows } = await at.database.query(
      'SELECT from_seq::integer AS a, to_seq::integer AS b FROM emitter_gap WHERE lost',
    );
    expect(rows).toEqual([{ a: 1, b: 2 }]);
  });
});

test('a record of another emitter that went through the outbox leaves no gap there', async () => {
  const stray = bench.emitter.completed(bench.sample(1, { key_id: keyInPartition(0) }));
  await park(stray, 900, 'no_stream');
  await retry(900);
  await park(bench.emitter.completed(bench.sample(2)), 901);
  await retry(901);
  expect(await settledSums(2)).toEqual(onceEach(2));
  expect((await recordsOf(at.eventLog, TOPICS.requestCompleted, 0)).length).toBe(2);
});
