/**
 * Guarantee: a rollup that does not say what its rows say is found, named and put right; one that does
 * is left alone; and what nobody sealed is found.
 */
import { createHash } from 'node:crypto';

import { afterEach, beforeEach, expect, test } from '@jest/globals';

import { picoUsd } from '#libs/kernel';
import type { ClickHouseSession } from '#libs/platform/clickhouse';
import { openChdbDatabase, type ChdbDatabase } from '#libs/testing';
import {
  ClickHouseLedgerUpkeep,
  ClickHouseUsageReader,
  ClickHouseUsageStore,
} from '#libs/usage/adapters';
import {
  SAMPLE_MONTH,
  SAMPLE_TIME_MS,
  sampleFilter,
  sampleUsageRow,
  storeBatch,
} from '#libs/usage/samples';
import { cellsOf, HOUR_MS, type UsageRow } from '#libs/usage/core';

let chdb: ChdbDatabase;
let store: ClickHouseUsageStore;
let reader: ClickHouseUsageReader;
let upkeep: ClickHouseLedgerUpkeep;
let session: ClickHouseSession;

beforeEach(async () => {
  chdb = openChdbDatabase();
  store = new ClickHouseUsageStore(chdb.engine);
  reader = new ClickHouseUsageReader(chdb.engine);
  upkeep = new ClickHouseLedgerUpkeep(chdb.engine);
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

const range = { startMs: SAMPLE_TIME_MS - HOUR_MS, endMs: SAMPLE_TIME_MS + 2 * HOUR_MS };
const rows: readonly UsageRow[] = [
  sampleUsageRow({ teamId: 'red' }),
  sampleUsageRow({ usage: { input_text: 0, output_text: 5 }, provenance: 'estimated_hold' }),
  sampleUsageRow({ occurredAtMs: SAMPLE_TIME_MS + HOUR_MS, final: false, model: 'o3' }),
];

async function charge(): Promise<bigint> {
  const filter = sampleFilter({ startMs: range.startMs, endMs: range.endMs });
  const found = await reader.sums({ ...filter, bucket: 'none', groupBy: [], maxRows: 9 });
  return found[0]?.chargePicoUsd ?? 0n;
}

test('cells computed from rows in SQL are those that were written with the batch', async () => {
  await storeBatch(store, rows);
  await storeBatch(
    store,
    rows.map((row) => ({ ...row, costPicoUsd: picoUsd(7n) })),
  );
  const compared = await upkeep.rebuildRollup(range, true, 'equal');
  expect(compared).toEqual({
    batches: 2,
    cells: 6,
    repeatedRows: 3,
    differences: [],
    staleMerges: [],
  });
  expect(await upkeep.hours()).toEqual({
    firstHourMs: SAMPLE_TIME_MS,
    lastHourMs: SAMPLE_TIME_MS + HOUR_MS,
  });
});

test('cells that are wrong, missing or stand for no row are found and put right, again and again', async () => {
  const batchId = await storeBatch(store, rows);
  const right = await charge();
  for (const round of [1, 2]) {
    for (const sql of [
      "ALTER TABLE rollup_hour UPDATE charge_usd = charge_usd + 1 WHERE team_id = 'red'",
      "DELETE FROM rollup_hour WHERE model = 'o3'",
      `INSERT INTO rollup_hour SELECT * REPLACE ('ghost' AS key_id, 0 AS is_deleted, revision + 1 AS revision)
       FROM rollup_hour FINAL WHERE team_id = 'red' SETTINGS insert_deduplicate = 0`,
    ]) {
      await session.run({ name: 'test.damage', sql });
    }
    expect(await charge()).not.toBe(right);
    const seen = await upkeep.rebuildRollup(range, false, `seen_${round}`);
    expect(seen.differences.map(({ hourMs, cells }) => [hourMs, cells])).toEqual([
      [SAMPLE_TIME_MS, 2],
      [SAMPLE_TIME_MS + HOUR_MS, 1],
    ]);
    expect(seen.differences[1]).toMatchObject({
      stored: { attempts: 0 },
      computed: { attempts: 1 },
    });
    expect(await charge()).not.toBe(right);
    await upkeep.rebuildRollup(range, true, `mended_${round}`);
    expect(await charge()).toBe(right);
    expect((await upkeep.rebuildRollup(range, true, `again_${round}`)).differences).toEqual([]);
  }
  await session.run({ name: 'test.merge', sql: 'OPTIMIZE TABLE rollup_hour FINAL' });
  expect(await charge()).toBe(right);
  expect(batchId).toHaveLength(64);
});

test('cells come back with their rows after any number of repairs that removed them', async () => {
  const batchId = await storeBatch(store, rows);
  const right = await charge();
  for (const round of [1, 2]) {
    await session.run({
      name: 'test.damage',
      sql: 'ALTER TABLE rollup_hour UPDATE charge_usd = charge_usd + 1 WHERE 1',
    });
    await upkeep.rebuildRollup(range, true, `mended_${round}`);
    await session.run({ name: 'test.lose', sql: 'DELETE FROM raw_usage_v1 WHERE 1' });
    await upkeep.rebuildRollup(range, true, `removed_${round}`);
    expect(await charge()).toBe(0n);
    await store.insertUsage({ batchId, token: `${batchId}:r${round}` }, rows);
    await upkeep.rebuildRollup(range, true, `returned_${round}`);
    expect(await charge()).toBe(right);
  }
});

test('cells written over stand above whatever a repair left, and are right for the next one', async () => {
  const batchId = await storeBatch(store, rows);
  const right = await charge();
  for (const round of [1, 2]) {
    // One cell keeps fewer attempts, the others none.
    const sql = "DELETE FROM raw_usage_v1 WHERE model = 'o3' OR team_id = 'red'";
    await session.run({ name: 'test.lose', sql });
    await upkeep.rebuildRollup(range, true, `lowered_${round}`);
    expect(await charge()).not.toBe(right);
    const lost = rows.filter((row) => row.model === 'o3' || row.teamId === 'red');
    await store.insertUsage({ batchId, token: `${batchId}:r${round}` }, lost);
    for (const repeat of [1, 2]) {
      const key = { batchId, token: `${batchId}:roll:${round}.${repeat}` };
      await store.overwriteCells(key, SAMPLE_MONTH, cellsOf(rows));
      expect(await charge()).toBe(right);
    }
    expect((await upkeep.rebuildRollup(range, true, `same_${round}`)).differences).toEqual([]);
  }
});

test('a rollup that was emptied comes back whole, and no table is left beside it', async () => {
  await storeBatch(store, rows);
  const right = await charge();
  await session.run({ name: 'test.empty', sql: 'TRUNCATE TABLE rollup_hour' });
  await upkeep.rebuildRollup(range, true, 'whole');
  expect(await charge()).toBe(right);
  const left = await session.rows({
    name: 'test.left',
    sql: "SELECT name FROM system.tables WHERE name LIKE '%beside%' AND database = currentDatabase()",
  });
  expect(left).toEqual([]);
  await upkeep.cleanUp();
});

test('a batch without seal is found by when it was recorded, and counts in no rebuild', async () => {
  await storeBatch(store, rows);
  const batchId = createHash('sha256').update('orphan').digest('hex');
  await store.insertUsage({ batchId, token: batchId }, [sampleUsageRow()]);
  expect(await upkeep.unsealed('usage', range, 10)).toEqual([{ table: 'usage', batchId, rows: 1 }]);
  expect(await upkeep.unsealed('rejection', range, 10)).toEqual([]);
  const later = { startMs: range.endMs, endMs: range.endMs + HOUR_MS };
  expect(await upkeep.unsealed('usage', later, 10)).toEqual([]);
  expect((await upkeep.rebuildRollup(range, true, 'sealed_only')).batches).toBe(1);
});
