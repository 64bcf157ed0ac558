/**
 * Guarantee: what metering keeps of the past stops growing; what tells a repeat from news, what waits
 * for somebody, and what says that records were lost stays.
 * Method: the worker on a real PostgreSQL with rows said to be old, and metering behind it.
 */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { pino } from 'pino';

import { TOPICS } from '#libs/events';
import type { Database } from '#libs/platform/postgres';
import { eventually } from '#libs/testing';

import { PlanStore } from '../src/sink/plan-store.js';
import { RetentionWorker } from '../src/sink/retention.worker.js';
import { StreamStore } from '../src/sink/stream-store.js';
import { CHARGE, MeteringBench } from './metering-bench.js';

let bench: MeteringBench;
let database: Database;
let warnings: string[];

beforeEach(async () => {
  bench = await MeteringBench.open();
  database = bench.postgres.database('metering');
  warnings = [];
});
afterEach(() => bench.close());

function worker(): RetentionWorker {
  const logger = pino({ level: 'warn' }, { write: (line) => void warnings.push(line) });
  const [plans, streams] = [new PlanStore(), new StreamStore()];
  return new RetentionWorker({ database, plans, streams, logger });
}

/** `count` rows of a kind with sequences from `first` on. */
async function gaps(first: number, count: number, resolvedAt: string, lost: boolean) {
  await database.query(
    `INSERT INTO emitter_gap (emitter_id, lane, from_seq, to_seq, resolved_at, lost)
     SELECT $1, 0, n, n, ${resolvedAt}, $2 FROM generate_series($3::integer, $4::integer) n`,
    [bench.emitter.emitterId, lost, first, first + count - 1],
  );
}

const daysAgo = (days: number): string => `clock_timestamp() - interval '${days} days'`;

test('filled gaps go after 30 days, however many; open ones and those given up stay', async () => {
  await gaps(1, 2_500, daysAgo(31), false);
  await gaps(5_001, 1, daysAgo(29), false);
  await gaps(5_002, 1, daysAgo(31), true);
  await gaps(5_003, 1, 'NULL', false);
  await worker().pass();
  const { rows } = await database.query<{ seq: number }>(
    'SELECT from_seq::integer AS seq FROM emitter_gap ORDER BY 1',
  );
  expect(rows.map(({ seq }) => seq)).toEqual([5_001, 5_002, 5_003]);
});

test('dead letters that were dealt with go after 30 days; those that wait stay', async () => {
  for (const [offset, state, days] of [
    [1, 'retried', 31],
    [2, 'discarded', 31],
    [3, 'retried', 29],
    [4, 'parked', 400],
  ] as const) {
    await database.query(
      `INSERT INTO dead_letter (topic, partition, "offset", class, error, key, headers, payload,
         booked, state, created_at)
       VALUES ($1, 0, $2, 'malformed', 'usage', '', '{}', '', false, $3, ${daysAgo(days)})`,
      [TOPICS.requestCompleted, offset, state],
    );
  }
  await worker().pass();
  const { rows } = await database.query('SELECT "offset"::integer FROM dead_letter ORDER BY 1');
  expect(rows).toEqual([{ offset: 3 }, { offset: 4 }]);
});

test('an emitter that comes back after years is known by its watermark, and an offset of 0 by the newest plan', async () => {
  const first = await bench.member();
  const records = [1, 2, 3].map((n) => bench.emitter.completed(bench.sample(n)));
  for (const record of records.slice(0, 2)) {
    await first.eventLog.append([record]);
    await bench.caughtUp(first);
  }
  await first.stop();
  await database.query(`UPDATE sink_plan SET done_at = ${daysAgo(900)}`);
  await database.query('UPDATE log_position SET next_offset = 0');
  await worker().pass();
  const { rows } = await database.query('SELECT first_offset::integer AS first FROM sink_plan');
  expect(rows).toEqual([{ first: 1 }]);
  const at = await bench.member();
  await at.eventLog.append(records);
  await eventually(async () => (await bench.sums()).rows === 3);
  await bench.caughtUp(at);
  expect(await bench.sums()).toEqual({ rows: 3, events: 3, chargePicoUsd: 3n * CHARGE });
});

test('removing runs by itself from the start on, and ends with the worker', async () => {
  await gaps(1, 1, daysAgo(31), false);
  const running = worker();
  running.start();
  await eventually(async () => (await database.query('SELECT 1 FROM emitter_gap')).rowCount === 0);
  await running.stop();
  expect(warnings).toEqual([]);
});
