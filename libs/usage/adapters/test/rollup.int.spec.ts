/**
 * Guarantee: figures from the rollup equal sums over the rows, to the pico-dollar, whatever the
 * interval; and a ledger from before there were seals keeps its figures.
 * Method: random batches on the embedded engine, sums in JavaScript as the yardstick.
 */
import { createHash, randomUUID } from 'node:crypto';

import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { picoUsd } from '#libs/kernel';
import type { ClickHouseSession } from '#libs/platform/clickhouse';
import { openChdbDatabase } from '#libs/testing';
import { ClickHouseUsageReader, ClickHouseUsageStore } from '#libs/usage/adapters';
import { SAMPLE_TIME_MS, sampleFilter, sampleUsageRow, storeBatch } from '#libs/usage/samples';
import { HOUR_MS, type UsageQuestion, type UsageRow } from '#libs/usage/core';

const { engine, drop } = openChdbDatabase();
const store = new ClickHouseUsageStore(engine);
const reader = new ClickHouseUsageReader(engine);
let session: ClickHouseSession;

beforeAll(async () => {
  await store.migrate();
  session = engine.session('write');
});
afterAll(async () => {
  await session.close();
  await reader.close();
  await store.close();
  await drop();
});

const attempt = fc.record({
  occurredAtMs: fc.integer({
    min: SAMPLE_TIME_MS - 3 * HOUR_MS,
    max: SAMPLE_TIME_MS + 3 * HOUR_MS,
  }),
  keyId: fc.constantFrom('key-a', 'key-b'),
  teamId: fc.constantFrom(null, 'red', ''),
  userId: fc.constantFrom('alice', 'bob'),
  model: fc.constantFrom('m1', 'm2'),
  provenance: fc.constantFrom('measured', 'estimated_hold' as const),
  final: fc.boolean(),
  tokensIn: fc.nat(),
  costPicoUsd: fc.bigInt({ min: -(10n ** 20n), max: 10n ** 20n }).map(picoUsd),
  chargePicoUsd: fc.bigInt({ min: -(10n ** 20n), max: 10n ** 20n }).map(picoUsd),
});
const moment = fc.oneof(
  fc.integer({ min: -4, max: 4 }).map((hours) => SAMPLE_TIME_MS + hours * HOUR_MS),
  fc.integer({ min: SAMPLE_TIME_MS - 4 * HOUR_MS, max: SAMPLE_TIME_MS + 4 * HOUR_MS }),
);

/** The same sums over the rows themselves. */
function summed(rows: readonly UsageRow[], question: UsageQuestion): readonly string[] {
  const groups = new Map<string, UsageRow[]>();
  for (const row of rows) {
    if (row.occurredAtMs < question.startMs || row.occurredAtMs >= question.endMs) continue;
    const bucket =
      question.bucket === 'hour' ? Math.floor(row.occurredAtMs / HOUR_MS) * HOUR_MS : null;
    const key = JSON.stringify([bucket, row.teamId, row.model]);
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  return [...groups].map(([key, group]) => {
    const sums = [
      group.length,
      group.reduce((sum, row) => sum + row.tokensIn, 0),
      group.reduce((sum, row) => sum + row.costPicoUsd, 0n),
      group.reduce((sum, row) => sum + row.chargePicoUsd, 0n),
      group.filter((row) => row.provenance !== 'measured').length,
    ];
    return `${key} ${sums.join(' ')}`;
  });
}

test('figures equal the sums over the rows, at any interval', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(attempt, { minLength: 1, maxLength: 12 }), { minLength: 1, maxLength: 4 }),
      fc.array(fc.tuple(moment, moment, fc.constantFrom('hour' as const, 'none' as const)), {
        minLength: 3,
        maxLength: 3,
      }),
      async (batches, intervals) => {
        const orgId = randomUUID();
        const rows: UsageRow[] = [];
        for (const changes of batches) {
          const batch = changes.map((change) => sampleUsageRow({ orgId, ...change }));
          rows.push(...batch);
          await storeBatch(store, batch);
        }
        for (const [a, b, bucket] of intervals) {
          const filter = sampleFilter({
            orgId,
            startMs: Math.min(a, b),
            endMs: Math.max(a, b) + 1,
          });
          const question = { ...filter, bucket, groupBy: ['team', 'model'], maxRows: 999 } as const;
          const found = await reader.sums(question);
          const told = found.map(
            (sums) =>
              `${JSON.stringify([sums.bucketStartMs, sums.group.team, sums.group.model])} ` +
              `${sums.requests} ${sums.tokensIn} ${sums.costPicoUsd} ${sums.chargePicoUsd} ` +
              `${sums.estimatedRequests}`,
          );
          expect(told.toSorted()).toEqual(summed(rows, question).toSorted());
        }
      },
    ),
    { numRuns: 20 },
  );
});

test('batches from before there were seals are sealed once, with their rollup; later ones are not', async () => {
  const { engine: old, drop: dropOld } = openChdbDatabase();
  const oldStore = new ClickHouseUsageStore(old);
  const oldReader = new ClickHouseUsageReader(old);
  const oldSession = old.session('write');
  await oldStore.migrate();
  await oldSession.run({ name: 'test.forget', sql: 'TRUNCATE TABLE batch_seal' });
  const rows = [sampleUsageRow(), sampleUsageRow({ occurredAtMs: SAMPLE_TIME_MS + 1 })];
  const question = { ...sampleFilter(), bucket: 'none', groupBy: [], maxRows: 1 } as const;
  const batchId = createHash('sha256').update('old').digest('hex');
  await oldStore.insertUsage({ batchId, token: batchId }, rows);
  await oldStore.migrate();
  expect(await oldReader.sums(question)).toMatchObject([{ requests: 2 }]);
  expect(await oldReader.attempts(question, null, 10)).toHaveLength(2);
  const later = createHash('sha256').update('later').digest('hex');
  await oldStore.insertUsage({ batchId: later, token: later }, [sampleUsageRow()]);
  await oldStore.migrate();
  expect(await oldReader.sums(question)).toMatchObject([{ requests: 2 }]);
  expect(await oldReader.attempts(question, null, 10)).toHaveLength(2);
  await oldSession.close();
  await oldReader.close();
  await oldStore.close();
  await dropOld();
});
