/**
 * Guarantee: merged hours change no figure. Whatever is merged, withdrawn, late, damaged, raced or
 * overtaken, the sums are those of the rows of sealed batches, to the pico-dollar.
 * Method: the embedded engine, sums in JavaScript as the yardstick, interference between statements.
 */
import { randomUUID } from 'node:crypto';

import { afterEach, beforeEach, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { picoUsd } from '#libs/kernel';
import type { ClickHouseSession } from '#libs/platform/clickhouse';
import { openChdbDatabase, type ChdbDatabase } from '#libs/testing';
import {
  ClickHouseLedgerUpkeep,
  ClickHouseUsageReader,
  ClickHouseUsageStore,
} from '#libs/usage/adapters';
import { SAMPLE_TIME_MS, sampleFilter, sampleUsageRow, storeBatch } from '#libs/usage/samples';
import { HOUR_MS, type RollupMerge, type UsageRow } from '#libs/usage/core';

import { watchedEngine } from './watched-engine.js';

let chdb: ChdbDatabase;
let store: ClickHouseUsageStore;
let reader: ClickHouseUsageReader;
let upkeep: ClickHouseLedgerUpkeep;
let session: ClickHouseSession;
let before: (name: string) => Promise<void> | void;

beforeEach(async () => {
  before = () => undefined;
  chdb = openChdbDatabase();
  store = new ClickHouseUsageStore(chdb.engine);
  reader = new ClickHouseUsageReader(chdb.engine);
  upkeep = new ClickHouseLedgerUpkeep(watchedEngine(chdb.engine, (name) => before(name)));
  session = chdb.engine.session('write');
  await store.migrate();
});
afterEach(async () => {
  await upkeep.close();
  await session.close();
  await reader.close();
  await store.close();
  await chdb.drop();
});

const CLOSED = SAMPLE_TIME_MS + 3 * HOUR_MS;
const RANGE = { startMs: SAMPLE_TIME_MS - HOUR_MS, endMs: SAMPLE_TIME_MS + 6 * HOUR_MS };

function merge(by = upkeep, beforeMs = CLOSED): Promise<RollupMerge> {
  return by.mergeClosed({ beforeMs, after: null, run: randomUUID() });
}

function at(hour: number, changes: Partial<UsageRow> = {}): UsageRow {
  const occurredAtMs = SAMPLE_TIME_MS + hour * HOUR_MS + 1_000;
  return sampleUsageRow({ occurredAtMs, chargePicoUsd: picoUsd(7n), ...changes });
}

/** Attempts and charge of the range as the product answers. */
async function figures(orgId = 'default', range = RANGE): Promise<readonly [number, bigint]> {
  const filter = sampleFilter({ orgId, ...range });
  const found = await reader.sums({ ...filter, bucket: 'none', groupBy: [], maxRows: 9 });
  return [found[0]?.requests ?? 0, found[0]?.chargePicoUsd ?? 0n];
}

async function count(sql: string): Promise<number> {
  const rows = await session.rows<{ n: string }>({ name: 'test.count', sql });
  return Number(rows[0]?.n);
}

const damage = (sql: string): Promise<void> => session.run({ name: 'test.damage', sql });

test('a merge takes closed batches once, sums their cells, and leaves open ones and late ones', async () => {
  await storeBatch(store, [at(0), at(1), at(0, { model: 'o3' })]);
  await storeBatch(store, [at(0), at(1)]);
  await storeBatch(store, [at(1), at(3)]);
  expect(await merge()).toMatchObject({ isInForce: true, batches: 2, refused: 0 });
  expect(await count('SELECT count() AS n FROM rollup_merged')).toBe(3);
  expect(await figures()).toEqual([7, 49n]);
  expect(await merge()).toMatchObject({ isInForce: false, batches: 0, next: null });
  await storeBatch(store, [at(0)]);
  expect(await figures()).toEqual([8, 56n]);
  expect(await merge()).toMatchObject({ isInForce: true, batches: 1 });
  expect(await figures()).toEqual([8, 56n]);
  expect(await merge(upkeep, CLOSED + HOUR_MS)).toMatchObject({ batches: 1 });
  await damage('TRUNCATE TABLE rollup_hour');
  expect(await figures()).toEqual([8, 56n]);
});

test('figures are the same when more runs are in force than a question names', async () => {
  await storeBatch(store, [at(0), at(1)]);
  await merge();
  await storeBatch(store, [at(0)]);
  expect(await figures()).toEqual([3, 21n]);
  await damage(
    "INSERT INTO rollup_run (version, kind, run) SELECT 100 + number, 'merged', 'of-old-' || number::String FROM numbers(1000)",
  );
  expect(await figures()).toEqual([3, 21n]);
  expect(await merge()).toMatchObject({ isInForce: true, batches: 1 });
  expect(await figures()).toEqual([3, 21n]);
});

const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.array(fc.tuple(fc.nat(5), fc.nat(2)), { minLength: 1, maxLength: 6 }),
  },
  { weight: 3, arbitrary: fc.record({ mergeBefore: fc.nat(6) }) },
  { weight: 1, arbitrary: fc.constant('withdraw' as const) },
  { weight: 1, arbitrary: fc.constant('unsealed' as const) },
);

test('figures equal the sums over sealed rows after every step, whatever is merged when', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 2, maxLength: 8 }), async (steps) => {
      const orgId = randomUUID();
      const rows: UsageRow[] = [];
      for (const one of steps) {
        if (one === 'unsealed') {
          const batchId = randomUUID();
          await store.insertUsage({ batchId, token: batchId }, [at(1, { orgId })]);
        } else if (one === 'withdraw') {
          await damage('ALTER TABLE rollup_merged UPDATE charge_usd = charge_usd + 1 WHERE 1');
          await upkeep.rebuildRollup(RANGE, true, `x${randomUUID().replaceAll('-', '')}`);
        } else if (Array.isArray(one)) {
          const batch = one.map(([hour, key]) => at(hour, { orgId, keyId: `key-${key}` }));
          rows.push(...batch);
          await storeBatch(store, batch);
        } else {
          await merge(upkeep, SAMPLE_TIME_MS + one.mergeBefore * HOUR_MS);
        }
        for (const [from, to] of [
          [RANGE.startMs, RANGE.endMs],
          [SAMPLE_TIME_MS + HOUR_MS, SAMPLE_TIME_MS + 3 * HOUR_MS],
          [SAMPLE_TIME_MS + 5_000, SAMPLE_TIME_MS + 2 * HOUR_MS + 5_000],
        ] as const) {
          const within = rows.filter(
            ({ occurredAtMs }) => occurredAtMs >= from && occurredAtMs < to,
          );
          const expected = [within.length, 7n * BigInt(within.length)];
          expect(await figures(orgId, { startMs: from, endMs: to })).toEqual(expected);
        }
      }
    }),
    { numRuns: 12 },
  );
});

test('of several merges at once each batch counts once', async () => {
  const others = [1, 2, 3].map(() => new ClickHouseLedgerUpkeep(chdb.engine));
  for (let round = 1; round <= 4; round += 1) {
    await storeBatch(store, [at(0), at(2)]);
    const done = await Promise.all([upkeep, ...others].map((one) => merge(one)));
    expect(done.filter(({ isInForce }) => isInForce)).toHaveLength(1);
    expect(await figures()).toEqual([2 * round, 14n * BigInt(round)]);
  }
  for (const other of others) await other.close();
});

test('a merge that slept while another one merged, or while cells were written over, counts for nothing', async () => {
  const other = new ClickHouseLedgerUpkeep(chdb.engine);
  await storeBatch(store, [at(0), at(1)]);
  before = async (name) => {
    if (name === 'usage.merge_decide') expect(await merge(other)).toMatchObject({ batches: 1 });
  };
  expect(await merge()).toMatchObject({ isInForce: false });
  expect(await figures()).toEqual([2, 14n]);

  await storeBatch(store, [at(0), at(1)]);
  before = async (name) => {
    if (name !== 'usage.merge_decide') return;
    before = () => undefined;
    await other.rebuildRollup(RANGE, true, 'between');
  };
  expect(await merge()).toMatchObject({ isInForce: false });
  expect(await merge()).toMatchObject({ isInForce: true, batches: 1 });
  expect(await figures()).toEqual([4, 28n]);
  await other.close();
});

test('cells that go away in the middle of a merge keep it out of force', async () => {
  const batchId = await storeBatch(store, [at(0), at(1)]);
  before = async (name) => {
    if (name !== 'usage.merge_cells') return;
    before = () => undefined;
    await damage(`DELETE FROM rollup_hour WHERE batch_id = '${batchId}' AND cost_usd > 0`);
  };
  expect(await merge()).toMatchObject({ isInForce: false, batches: 0, refused: 1 });
  await upkeep.rebuildRollup(RANGE, true, 'mended');
  expect(await merge()).toMatchObject({ isInForce: true, batches: 1 });
  expect(await figures()).toEqual([2, 14n]);
});

test('a batch whose cells do not amount to its seal is left out, and does not hold up the others', async () => {
  const wrong = await storeBatch(store, [at(0)]);
  await storeBatch(store, [at(1)]);
  await damage(`ALTER TABLE rollup_hour UPDATE charge_usd = 1 WHERE batch_id = '${wrong}'`);
  expect(await merge()).toMatchObject({ isInForce: true, batches: 1, refused: 1 });
  const again = await merge();
  expect(again).toMatchObject({ isInForce: false, batches: 0, refused: 1 });
  const rest = await upkeep.mergeClosed({ beforeMs: CLOSED, after: again.next, run: 'rest' });
  expect(rest).toEqual({ isInForce: false, batches: 0, refused: 0, next: null });
  const [mended] = (await upkeep.rebuildRollup(RANGE, true, 'mended')).differences;
  expect(mended).toMatchObject({ cells: 1 });
  expect(await merge()).toMatchObject({ batches: 1, refused: 0 });
  expect(await figures()).toEqual([2, 14n]);
});

test('merged sums that are damaged, or no longer those of the cells, are found and withdrawn', async () => {
  await storeBatch(store, [at(0), at(1)]);
  await storeBatch(store, [at(2)]);
  for (const sql of [
    'ALTER TABLE rollup_merged UPDATE tokens_in = tokens_in + 1 WHERE hour = (SELECT min(hour) FROM rollup_merged)',
    'DELETE FROM rollup_merged WHERE hour = (SELECT max(hour) FROM rollup_merged)',
    'TRUNCATE TABLE rollup_merged',
  ]) {
    expect(await merge()).toMatchObject({ isInForce: true, batches: 2 });
    expect((await upkeep.rebuildRollup(RANGE, true, 'whole')).staleMerges).toEqual([]);
    await damage(sql);
    expect((await upkeep.rebuildRollup(RANGE, false, 'seen')).staleMerges).toHaveLength(1);
    expect((await upkeep.rebuildRollup(RANGE, true, 'mended')).staleMerges).toHaveLength(1);
    expect(await figures()).toEqual([3, 21n]);
  }
});

test('a number that a crash used up does not end merging', async () => {
  await storeBatch(store, [at(0)]);
  expect(await merge()).toMatchObject({ isInForce: true });
  await damage('DELETE FROM rollup_run WHERE 1');
  expect(await figures()).toEqual([1, 7n]);
  expect(await merge()).toMatchObject({ isInForce: true, batches: 1 });
  expect(await count('SELECT max(version) AS n FROM rollup_run')).toBe(2);
  expect(await figures()).toEqual([1, 7n]);
});

test('what is not in force is removed after a day; what is in force stays', async () => {
  await storeBatch(store, [at(0)]);
  await merge();
  await storeBatch(store, [at(1)]);
  before = (name) => {
    if (name === 'usage.merge_decide') throw new Error('the process died');
  };
  await expect(merge()).rejects.toThrow('died');
  before = () => undefined;
  const runs = 'SELECT uniqExact(run) AS n FROM rollup_merged';
  await upkeep.cleanUp();
  expect(await count(runs)).toBe(2);
  for (const table of ['rollup_merged', 'rollup_merged_day', 'rollup_merged_batch']) {
    await damage(`ALTER TABLE ${table} UPDATE made_at = made_at - 100000 WHERE 1`);
  }
  await upkeep.cleanUp();
  expect(await count(runs)).toBe(1);
  expect(await count('SELECT uniqExact(run) AS n FROM rollup_merged_day')).toBe(1);
  expect(await count('SELECT count() AS n FROM rollup_merged_batch')).toBe(1);
  expect(await figures()).toEqual([2, 14n]);
});
