/**
 * Guarantee: a record that cannot be read, or whose row the ledger refuses, stops nobody: it is parked
 * with its bytes in the transaction that moves on past it, and its money stays booked at the hold.
 * Method: metering on a real PostgreSQL, its event log, and the embedded ClickHouse engine, whose
 * table is made to refuse rows by a constraint.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';

import { TOPICS } from '#libs/events';
import type { LogRecordInput } from '#libs/event-log/core';
import { eventually, type TestPostgres } from '#libs/testing';

import { CHARGE, MeteringBench } from './metering-bench.js';
import { SamplePrices, startMeteringPostgres, type Member } from './metering-fixture.js';
import { keyInPartition, PRICE, rejected } from './sample-events.js';

const HOLD = 5_000_000_000n;
/** Waits are compared by the shortest of so many, which a machine that stands still does not lengthen. */
const ROUNDS = 3;

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

async function letters({ database }: Member): Promise<readonly unknown[]> {
  const { rows } = await database.query(
    'SELECT "offset"::integer, class, booked FROM dead_letter ORDER BY partition, "offset"',
  );
  return rows;
}

describe('a poison record', () => {
  test('among 1,000 is parked, and holds its partition up for less than 1 s', async () => {
    const at = await bench.member();
    const value = Buffer.from('{"event_id": ');
    let appended = 0;
    const thousandTakes = async (isPoisoned: boolean): Promise<number> => {
      const records = Array.from({ length: 1_000 }, (_, n): LogRecordInput => {
        const good = bench.emitter.completed(bench.sample(appended + n));
        return isPoisoned && n === 500 ? { ...good, value } : good;
      });
      appended += records.length;
      const begunMs = bench.clock.monotonicMs();
      await at.eventLog.append(records);
      await bench.reached(at, 0, BigInt(appended), 60_000);
      return bench.clock.monotonicMs() - begunMs;
    };
    await thousandTakes(false);
    const usualMs: number[] = [];
    const poisonedMs: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      usualMs.push(await thousandTakes(false));
      poisonedMs.push(await thousandTakes(true));
    }
    expect(Math.min(...poisonedMs)).toBeLessThan(Math.min(...usualMs) + 1_000);
    expect(await letters(at)).toEqual(
      Array.from({ length: ROUNDS }, (_, round) => {
        return { offset: 2_500 + 2_000 * round, class: 'not_json', booked: false };
      }),
    );
    const { rows } = await at.database.query('SELECT DISTINCT payload FROM dead_letter');
    expect(rows).toEqual([{ payload: value }]);
    expect(await bench.sums()).toMatchObject({ rows: appended - ROUNDS });
    await eventually(async () =>
      (await at.runtime.metrics.metrics()).includes(
        `metering_dead_letters_hold_unknown_total ${ROUNDS}\n`,
      ),
    );
  });

  test('in one partition makes no other wait', async () => {
    const at = await bench.member();
    await bench.caughtUp(at);
    let offset = 0n;
    const others = async (): Promise<number> => {
      const number = 10 + 2 * Number(offset);
      offset += 1n;
      const begunMs = bench.clock.monotonicMs();
      await at.eventLog.append([
        bench.emitter.completed(bench.sample(number, inPartition(2))),
        bench.emitter.rejected(rejected(number + 1, {}, bench.clock.nowMs())),
      ]);
      await bench.reached(at, 2, offset, 60_000);
      await eventually(
        async () => {
          const { rows } = await at.database.query<{ n: bigint }>(
            `SELECT next_offset AS n FROM log_position WHERE topic = $1 AND partition = 0`,
            [TOPICS.requestRejected],
          );
          return rows[0]?.n === offset;
        },
        { deadlineMs: 60_000 },
      );
      return bench.clock.monotonicMs() - begunMs;
    };
    const usualMs: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) usualMs.push(await others());
    const newer = bench.emitter.completed(bench.sample(1));
    await at.eventLog.append([
      { ...newer, headers: { ...newer.headers, ce_type: 'request.completed.v2' } },
      { ...bench.emitter.completed(bench.sample(2, inPartition(1))), value: Buffer.from([0xff]) },
      bench.emitter.completed(bench.sample(3, { ...inPartition(1), price_id: 'a'.repeat(64) })),
    ]);
    // Partition 0 stands by now.
    await eventually(async () =>
      (await at.runtime.metrics.metrics()).includes(
        'metering_partition_stopped{topic="request.completed",partition="0"} 1',
      ),
    );
    const besideMs: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) besideMs.push(await others());
    expect(Math.min(...besideMs)).toBeLessThan(Math.min(...usualMs) + 2_000);
    expect(await bench.sums()).toMatchObject({ rows: 2 * ROUNDS });
  });

  test('that is of an unknown type or far too large is parked like any other', async () => {
    const at = await bench.member();
    const strange = bench.emitter.completed(bench.sample(1));
    const huge = bench.emitter.completed(bench.sample(2, { raw_usage: 'x'.repeat(200_000) }));
    await at.eventLog.append([
      { ...strange, headers: { ...strange.headers, ce_type: 'request.pondered.v1' } },
      huge,
      bench.emitter.completed(bench.sample(3)),
    ]);
    await bench.caughtUp(at);
    expect(await letters(at)).toEqual([
      { offset: 0, class: 'unknown_type', booked: true },
      { offset: 1, class: 'malformed', booked: true },
    ]);
    expect(await bench.sums()).toEqual({
      rows: 3,
      events: 3,
      chargePicoUsd: CHARGE + 2n * HOLD,
    });
  });
});

describe('a row that the ledger refuses', () => {
  async function constrain(sql: string): Promise<Member> {
    const at = await bench.member();
    await bench.ledger(`ALTER TABLE raw_usage_v1 ADD CONSTRAINT test_rule CHECK ${sql}`);
    return at;
  }

  test('is found by halving and stays booked at its hold; all others are written', async () => {
    let inserts = 0;
    bench.store.beforeInsert = async () => {
      inserts += 1;
    };
    const at = await constrain('latency_ms != 777');
    const records = Array.from({ length: 256 }, (_, n) =>
      bench.emitter.completed(bench.sample(n, n === 77 ? { latency_ms: 777 } : {})),
    );
    await at.eventLog.append(records);
    await bench.caughtUp(at);
    expect(await letters(at)).toEqual([{ offset: 77, class: 'row_refused', booked: true }]);
    expect(await bench.sums()).toEqual({
      rows: 256,
      events: 256,
      chargePicoUsd: 255n * CHARGE + HOLD,
    });
    // log2(256) refused halves, as many that went through, the last record and its substitute.
    expect(inserts).toBeLessThanOrEqual(2 * 8 + 3);
    const plans = await at.database.query(`SELECT 1 FROM sink_plan WHERE state <> 'DONE'`);
    expect(plans.rowCount).toBe(0);
  });

  test('even at its hold is parked without a row, and said to be', async () => {
    const at = await constrain(`user_id != 'nobody'`);
    await at.eventLog.append([
      bench.emitter.completed(bench.sample(1)),
      bench.emitter.completed(bench.sample(2, { user_id: 'nobody' })),
      bench.emitter.completed(bench.sample(3)),
    ]);
    await bench.caughtUp(at);
    expect(await letters(at)).toEqual([{ offset: 1, class: 'row_refused', booked: false }]);
    expect(await bench.sums()).toMatchObject({ rows: 2, chargePicoUsd: 2n * CHARGE });
  });

  test('in a batch that a dead owner left prepared does not stop its successor', async () => {
    const at = await constrain('latency_ms != 777');
    const away = async (): Promise<void> => {
      throw new Error('the engine is away');
    };
    bench.store.beforeInsert = away;
    bench.store.beforeDigest = away;
    await at.eventLog.append(
      [1, 2, 3].map((n) =>
        bench.emitter.completed(bench.sample(n, n === 2 ? { latency_ms: 777 } : {})),
      ),
    );
    await eventually(async () => {
      const { rowCount } = await at.database.query(
        `SELECT 1 FROM sink_plan WHERE state = 'PREPARED'`,
      );
      return rowCount === 1;
    });
    await at.stop();
    bench.store.beforeInsert = async () => undefined;
    bench.store.beforeDigest = async () => undefined;
    const next = await bench.member();
    await bench.caughtUp(next);
    expect(await letters(next)).toEqual([{ offset: 1, class: 'row_refused', booked: true }]);
    expect(await bench.sums()).toEqual({ rows: 3, events: 3, chargePicoUsd: 2n * CHARGE + HOLD });
  });

  test('row after row is a fault of the table: nothing more is parked, the partition stops', async () => {
    const at = await constrain('latency_ms != 777');
    const record = (n: number): LogRecordInput =>
      bench.emitter.completed(bench.sample(n, { latency_ms: 777 }));
    for (let n = 1; n <= 20; n += 1) {
      await at.eventLog.append([record(n)]);
      await bench.reached(at, 0, BigInt(n), 60_000);
    }
    await at.eventLog.append([record(21)]);
    await eventually(async () =>
      (await at.runtime.metrics.metrics()).includes(
        'metering_partition_stopped{topic="request.completed",partition="0"} 1',
      ),
    );
    expect((await letters(at)).length).toBe(20);
    await bench.ledger('ALTER TABLE raw_usage_v1 DROP CONSTRAINT test_rule');
    await bench.caughtUp(at);
    expect(await bench.sums()).toMatchObject({ rows: 21 });
  });
});

test('a price that is not known yet is waited for, and never rated at 0', async () => {
  let isKnown = false;
  let asked = 0;
  class LatePrices extends SamplePrices {
    override async findEntry(priceId: string): Promise<typeof PRICE | null> {
      asked += 1;
      return isKnown && priceId === PRICE.priceId ? PRICE : null;
    }
  }
  const at = await bench.member({ prices: new LatePrices() });
  await at.eventLog.append([bench.emitter.completed(bench.sample(1))]);
  await eventually(() => asked > 1);
  const moved = await at.database.query('SELECT 1 FROM log_position WHERE next_offset > 0');
  expect(moved.rowCount).toBe(0);
  expect(await bench.sums()).toMatchObject({ rows: 0 });
  isKnown = true;
  await bench.caughtUp(at);
  expect(await bench.sums()).toEqual({ rows: 1, events: 1, chargePicoUsd: CHARGE });
});

function inPartition(partition: number): { readonly key_id: string } {
  return { key_id: keyInPartition(partition) };
}
