/**
 * Guarantee: sums per day change no figure. Whatever is asked, over whichever days, hours and parts
 * of them, merged or not, the answer is that of the rows of sealed batches, to the pico-dollar; sums
 * per day that do not amount to their hours never count.
 * Method: the embedded engine, sums in JavaScript as the yardstick, damage between statements.
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
import {
  HOUR_MS,
  type RollupMerge,
  type UsageGrouping,
  type UsageQuestion,
  type UsageRow,
} from '#libs/usage/core';

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

const DAY_MS = 24 * HOUR_MS;
/** The day whose third hour before noon the samples are of. */
const FIRST_DAY_MS = Math.floor(SAMPLE_TIME_MS / DAY_MS) * DAY_MS;
const DAYS = 4;
const RANGE = { startMs: FIRST_DAY_MS, endMs: FIRST_DAY_MS + DAYS * DAY_MS };

function merge(beforeMs = RANGE.endMs): Promise<RollupMerge> {
  return upkeep.mergeClosed({ beforeMs, after: null, run: randomUUID() });
}

const damage = (sql: string): Promise<void> => session.run({ name: 'test.damage', sql });

/** What a row has under each grouping, from few values so that they meet. */
const OWNERS: Readonly<Record<UsageGrouping, (row: UsageRow) => string | null>> = {
  key: ({ keyId }) => keyId,
  team: ({ teamId }) => teamId,
  user: ({ userId }) => userId,
  model: ({ model }) => model,
  provider: ({ provider }) => provider,
};
const GROUPINGS = Object.keys(OWNERS) as readonly UsageGrouping[];

const row = fc
  .record({
    atMs: fc.nat(DAYS * DAY_MS - 1),
    keyId: fc.constantFrom('k1', 'k2', 'k3'),
    teamId: fc.constantFrom('t1', 't2', null),
    userId: fc.constantFrom('', 'u1'),
    provider: fc.constantFrom('p1', 'p2'),
    model: fc.constantFrom('m1', 'm2'),
    provenance: fc.constantFrom('measured' as const, 'estimated_hold' as const),
    chargePicoUsd: fc.bigInt(0n, 10n ** 13n).map(picoUsd),
    costPicoUsd: fc.bigInt(0n, 10n ** 13n).map(picoUsd),
    tokensIn: fc.nat(1_000_000),
  })
  .map(({ atMs, ...changes }) => sampleUsageRow({ occurredAtMs: FIRST_DAY_MS + atMs, ...changes }));

const moment = fc.oneof(
  fc.nat(DAYS).map((day) => day * DAY_MS),
  fc.nat(DAYS * 24).map((hour) => hour * HOUR_MS),
  fc.nat(DAYS * DAY_MS),
);

const question = fc
  .record({
    ends: fc.tuple(moment, moment),
    bucket: fc.constantFrom('none' as const, 'day' as const, 'hour' as const),
    groupBy: fc.subarray([...GROUPINGS]),
    keyIds: fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, fc.constant(['k1', 'k2'])),
    models: fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, fc.constant(['m1'])),
  })
  .map(({ ends, ...asked }): UsageQuestion => {
    const startMs = FIRST_DAY_MS + Math.min(...ends);
    const endMs = FIRST_DAY_MS + Math.max(...ends);
    return { ...sampleFilter({ startMs, endMs }), maxRows: 10_000, ...asked };
  });

/** One text for each line of the answer, in no order. */
function expected(asked: UsageQuestion, rows: readonly UsageRow[]): readonly string[] {
  const bucketMs = { none: 0, hour: HOUR_MS, day: DAY_MS }[asked.bucket];
  const groups = new Map<string, UsageRow[]>();
  for (const one of rows) {
    const { occurredAtMs: atMs } = one;
    if (atMs < asked.startMs || atMs >= asked.endMs) continue;
    if (asked.keyIds.length > 0 && !asked.keyIds.includes(one.keyId)) continue;
    if (asked.models.length > 0 && !asked.models.includes(one.model)) continue;
    const bucket = bucketMs === 0 ? null : Math.floor(atMs / bucketMs) * bucketMs;
    const group = asked.groupBy.map((grouping) => [grouping, OWNERS[grouping](one)]);
    const key = JSON.stringify([bucket, group]);
    groups.set(key, [...(groups.get(key) ?? []), one]);
  }
  const total = (all: readonly UsageRow[], of: (one: UsageRow) => bigint): string =>
    String(all.reduce((sum, one) => sum + of(one), 0n));
  return [...groups]
    .map(([key, all]) =>
      [
        key,
        all.length,
        all.filter(({ provenance }) => provenance !== 'measured').length,
        total(all, ({ tokensIn }) => BigInt(tokensIn)),
        total(all, ({ costPicoUsd }) => costPicoUsd),
        total(all, ({ chargePicoUsd }) => chargePicoUsd),
      ].join(' '),
    )
    .toSorted();
}

async function answered(asked: UsageQuestion): Promise<readonly string[]> {
  const sums = await reader.sums(asked);
  return sums
    .map((one) =>
      [
        JSON.stringify([one.bucketStartMs, asked.groupBy.map((name) => [name, one.group[name]])]),
        one.requests,
        one.estimatedRequests,
        one.tokensIn,
        one.costPicoUsd,
        one.chargePicoUsd,
      ].join(' '),
    )
    .toSorted();
}

test('any question is answered as the rows say, whatever part of the days is merged', async () => {
  const batches = fc.array(fc.array(row, { minLength: 1, maxLength: 30 }), {
    minLength: 1,
    maxLength: 4,
  });
  const run = fc.record({
    merged: batches,
    mergedBefore: moment,
    later: batches,
    questions: fc.array(question, { minLength: 10, maxLength: 10 }),
  });
  await fc.assert(
    fc.asyncProperty(run, async ({ merged, mergedBefore, later, questions }) => {
      const orgId = randomUUID();
      const owned = (rows: readonly UsageRow[]): UsageRow[] =>
        rows.map((one) => ({ ...one, eventId: randomUUID(), orgId }));
      const rows: UsageRow[] = [];
      const store1 = async (batch: readonly UsageRow[]): Promise<void> => {
        rows.push(...owned(batch));
        await storeBatch(store, rows.slice(-batch.length));
      };
      for (const batch of merged) await store1(batch);
      await merge(FIRST_DAY_MS + mergedBefore);
      await merge();
      for (const batch of later) await store1(batch);
      for (const one of questions) {
        const asked = { ...one, orgId };
        expect(await answered(asked)).toEqual(expected(asked, rows));
      }
    }),
    { numRuns: 10 },
  );
}, 240_000);

const at = (hour: number): UsageRow =>
  sampleUsageRow({ occurredAtMs: FIRST_DAY_MS + hour * HOUR_MS, chargePicoUsd: picoUsd(7n) });

/** The charge of all days by the sums per day of one grain. */
async function charge(groupBy: UsageGrouping): Promise<bigint | undefined> {
  const filter = sampleFilter(RANGE);
  const found = await reader.sums({ ...filter, bucket: 'none', groupBy: [groupBy], maxRows: 9 });
  return found[0]?.chargePicoUsd;
}

test.each([
  "ALTER TABLE rollup_merged_day UPDATE charge_usd = charge_usd + 1 WHERE grain = 'key'",
  "ALTER TABLE rollup_merged_day UPDATE tokens_in = tokens_in + 1 WHERE grain = 'model'",
  "DELETE FROM rollup_merged_day WHERE grain = 'model'",
  'DELETE FROM rollup_merged_day WHERE day = (SELECT max(day) FROM rollup_merged_day)',
  'TRUNCATE TABLE rollup_merged_day',
])('damaged sums per day are found and withdrawn: %s', async (sql) => {
  await storeBatch(store, [at(1), at(2), at(30)]);
  expect(await merge()).toMatchObject({ isInForce: true });
  expect((await upkeep.rebuildRollup(RANGE, true, 'whole')).staleMerges).toEqual([]);
  await damage(sql);
  // The hourly check looks at some hours of a day only.
  const lastHours = { startMs: FIRST_DAY_MS + 29 * HOUR_MS, endMs: FIRST_DAY_MS + 35 * HOUR_MS };
  expect((await upkeep.rebuildRollup(lastHours, false, 'seen')).staleMerges).toHaveLength(1);
  expect((await upkeep.rebuildRollup(lastHours, true, 'mended')).staleMerges).toHaveLength(1);
  for (const grouping of ['key', 'model'] as const) expect(await charge(grouping)).toBe(21n);
  expect(await merge()).toMatchObject({ isInForce: true, batches: 1 });
  for (const grouping of ['key', 'model'] as const) expect(await charge(grouping)).toBe(21n);
});

test.each(['key', 'model'])(
  'a run whose sums per day of grain %s do not amount to its seals stays out of force',
  async (grain) => {
    await storeBatch(store, [at(1), at(30)]);
    before = async (name) => {
      if (name !== 'usage.merge_merged_days') return;
      before = () => undefined;
      await damage(`DELETE FROM rollup_merged_day WHERE grain = '${grain}'`);
    };
    expect(await merge()).toMatchObject({ isInForce: false, batches: 0, refused: 1 });
    expect(await charge('key')).toBe(14n);
    expect(await merge()).toMatchObject({ isInForce: true, batches: 1 });
    for (const grouping of ['key', 'model'] as const) expect(await charge(grouping)).toBe(14n);
  },
);

test('figures of whole days need neither the hours nor the cells', async () => {
  await storeBatch(store, [at(1), at(30), at(50)]);
  await merge();
  for (const table of ['rollup_merged', 'rollup_hour']) await damage(`TRUNCATE TABLE ${table}`);
  for (const grouping of ['key', 'model'] as const) expect(await charge(grouping)).toBe(21n);
});
