import { randomUUID } from 'node:crypto';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import { picoUsd } from '#libs/kernel';
import type { AttemptCursor, UsageReader, UsageRow, UsageStore } from '#libs/usage/core';
import { SAMPLE_TIME_MS, sampleFilter, sampleUsageRow, storeBatch } from '#libs/usage/samples';

import type { UsageHarness } from './usage-harness.js';

const HOUR_MS = 3_600_000;
const DAY_START_MS = SAMPLE_TIME_MS - 10 * HOUR_MS;

/** What every figure rests on: sums, grouping, half-open intervals and paging. Both engines pass it. */
export function usageReaderContract(name: string, open: () => Promise<UsageHarness>): void {
  describe(`usage reader: ${name}`, () => {
    let harness: UsageHarness;
    let store: UsageStore;
    let reader: UsageReader;

    beforeAll(async () => {
      harness = await open();
      store = harness.openStore();
      reader = harness.openReader();
    });
    afterAll(() => harness.close());

    /** Rows of an organisation of their own, so that tests do not see each other's. */
    async function given(changes: readonly Partial<UsageRow>[]): Promise<string> {
      const orgId = randomUUID();
      await storeBatch(
        store,
        changes.map((change) => sampleUsageRow({ orgId, ...change })),
      );
      return orgId;
    }

    const question = { bucket: 'none', groupBy: [], maxRows: 100 } as const;

    test('sums are exact to the pico-dollar, above what a double can hold', async () => {
      const orgId = await given([
        { costPicoUsd: picoUsd(9_007_199_254_740_993n), chargePicoUsd: picoUsd(1n) },
        { costPicoUsd: picoUsd(9_007_199_254_740_993n), chargePicoUsd: picoUsd(2n) },
        { costPicoUsd: picoUsd(-1n), provenance: 'estimated_hold', chargePicoUsd: picoUsd(0n) },
      ]);
      expect(await reader.sums({ ...sampleFilter({ orgId }), ...question })).toEqual([
        {
          bucketStartMs: null,
          group: {},
          requests: 3,
          tokensIn: 300,
          tokensOut: 60,
          costPicoUsd: 18_014_398_509_481_985n,
          chargePicoUsd: 3n,
          estimatedRequests: 1,
        },
      ]);
    });

    test('nothing found gives no rows, with and without grouping', async () => {
      const filter = sampleFilter({ orgId: randomUUID() });
      expect(await reader.sums({ ...filter, ...question })).toEqual([]);
      expect(
        await reader.sums({ ...filter, ...question, bucket: 'day', groupBy: ['key'] }),
      ).toEqual([]);
    });

    test('an interval includes its start and excludes its end', async () => {
      const orgId = await given([
        { occurredAtMs: SAMPLE_TIME_MS - 1, userId: 'before' },
        { occurredAtMs: SAMPLE_TIME_MS, userId: 'first' },
        { occurredAtMs: SAMPLE_TIME_MS + 999, userId: 'last' },
        { occurredAtMs: SAMPLE_TIME_MS + 1000, userId: 'after' },
      ]);
      const filter = sampleFilter({ orgId, endMs: SAMPLE_TIME_MS + 1000 });
      const found = await reader.sums({ ...filter, ...question, groupBy: ['user'] });
      expect(found.map((row) => row.group.user)).toEqual(['first', 'last']);
      const listed = await reader.attempts(filter, null, 10);
      expect(listed.map((row) => row.userId)).toEqual(['last', 'first']);
    });

    test('a late record counts when it occurred, not when it was recorded', async () => {
      const orgId = await given([{ recordedAtMs: SAMPLE_TIME_MS + 9 * 86_400_000 }]);
      const found = await reader.sums({ ...sampleFilter({ orgId }), ...question });
      expect(found[0]?.requests).toBe(1);
    });

    test('buckets begin on the hour and the day in UTC, ascending', async () => {
      const orgId = await given([
        { occurredAtMs: DAY_START_MS + 2 * HOUR_MS + 5 },
        { occurredAtMs: DAY_START_MS + 3 * HOUR_MS - 1 },
        { occurredAtMs: DAY_START_MS },
        { occurredAtMs: DAY_START_MS + 24 * HOUR_MS },
      ]);
      const filter = sampleFilter({
        orgId,
        startMs: DAY_START_MS,
        endMs: DAY_START_MS + 48 * HOUR_MS,
      });
      const byHour = await reader.sums({ ...filter, ...question, bucket: 'hour' });
      expect(byHour.map((row) => [row.bucketStartMs, row.requests])).toEqual([
        [DAY_START_MS, 1],
        [DAY_START_MS + 2 * HOUR_MS, 2],
        [DAY_START_MS + 24 * HOUR_MS, 1],
      ]);
      const byDay = await reader.sums({ ...filter, ...question, bucket: 'day' });
      expect(byDay.map((row) => [row.bucketStartMs, row.requests])).toEqual([
        [DAY_START_MS, 3],
        [DAY_START_MS + 24 * HOUR_MS, 1],
      ]);
    });

    test('groups are ordered by their members in the order asked for, unknown last', async () => {
      const orgId = await given([
        { teamId: null, model: 'b' },
        { teamId: 'red', model: 'b' },
        { teamId: 'red', model: 'a' },
        { teamId: 'blue', model: 'c' },
        { teamId: 'blue', model: 'c' },
      ]);
      const found = await reader.sums({
        ...sampleFilter({ orgId }),
        ...question,
        groupBy: ['team', 'model'],
      });
      expect(found.map((row) => [row.group, row.requests])).toEqual([
        [{ team: 'blue', model: 'c' }, 2],
        [{ team: 'red', model: 'a' }, 1],
        [{ team: 'red', model: 'b' }, 1],
        [{ team: null, model: 'b' }, 1],
      ]);
    });

    test('every grouping and every filter names its own column', async () => {
      const mine = { keyId: randomUUID(), teamId: 't', userId: 'u', model: 'm', provider: 'p' };
      const orgId = await given([mine, {}]);
      const filters = [
        { keyIds: [mine.keyId] },
        { teamIds: ['t'] },
        { userIds: ['u'] },
        { models: ['m'] },
        { providers: ['p', 'another'] },
      ];
      for (const changes of filters) {
        const found = await reader.sums({
          ...sampleFilter({ orgId, ...changes }),
          ...question,
          groupBy: ['key', 'team', 'user', 'model', 'provider'],
        });
        expect(found.map((row) => row.group)).toEqual([
          { key: mine.keyId, team: 't', user: 'u', model: 'm', provider: 'p' },
        ]);
      }
    });

    test('another organisation is never seen', async () => {
      const orgId = await given([{}]);
      const other = sampleFilter({ orgId: `${orgId}x` });
      expect(await reader.sums({ ...other, ...question })).toEqual([]);
      expect(await reader.attempts(other, null, 10)).toEqual([]);
      expect(await reader.activityOf(`${orgId}x`, [sampleUsageRow().keyId])).toEqual([]);
    });

    test('more rows than allowed are an error, exactly as many are not', async () => {
      const orgId = await given([{ userId: 'a' }, { userId: 'b' }, { userId: 'c' }]);
      const asked = { ...sampleFilter({ orgId }), ...question, groupBy: ['user'] as const };
      expect(await reader.sums({ ...asked, maxRows: 3 })).toHaveLength(3);
      await expect(reader.sums({ ...asked, maxRows: 2 })).rejects.toMatchObject({
        code: 'usage.too_many_rows',
        kind: 'invalid',
      });
    });

    test('pages list every attempt once, newest first, also inside one millisecond', async () => {
      const orgId = await given(
        Array.from({ length: 25 }, (_, index) => ({
          occurredAtMs: SAMPLE_TIME_MS + (index % 3),
          keyId: `key-${index}`,
        })),
      );
      const whole = await reader.attempts(sampleFilter({ orgId }), null, 100);
      const paged: string[] = [];
      let after: AttemptCursor | null = null;
      for (;;) {
        const page = await reader.attempts(sampleFilter({ orgId }), after, 4);
        if (page.length === 0) break;
        paged.push(...page.map((row) => row.eventId));
        const last = page.at(-1)!;
        after = { occurredAtMs: last.occurredAtMs, eventId: last.eventId };
      }
      expect(paged).toEqual(whole.map((row) => row.eventId));
      expect(new Set(paged).size).toBe(25);
      const keys = whole.map((row) => `${row.occurredAtMs} ${row.eventId}`);
      expect(keys).toEqual(keys.toSorted().toReversed());
    });

    test('a listed attempt carries what was stored', async () => {
      const row = sampleUsageRow({
        orgId: randomUUID(),
        attempt: 2,
        final: false,
        teamId: 'red',
        status: 'partial',
        provenance: 'estimated_partial',
        source: 'recovery',
        priceState: 'ceiling',
        latencyMs: 0,
      });
      await storeBatch(store, [row]);
      const found = await reader.attempts(sampleFilter({ orgId: row.orgId }), null, 10);
      expect(found).toHaveLength(1);
      expect(row).toMatchObject(found[0]!);
    });

    test('activity counts the served calls of each key and its last use', async () => {
      const [busy, idle] = [randomUUID(), randomUUID()];
      const orgId = await given([
        { keyId: busy, occurredAtMs: SAMPLE_TIME_MS + 7 },
        { keyId: busy, occurredAtMs: SAMPLE_TIME_MS + 9, status: 'partial' },
        { keyId: busy, occurredAtMs: SAMPLE_TIME_MS + 10, status: 'provider_error' },
        { keyId: busy, occurredAtMs: SAMPLE_TIME_MS + 11, final: false },
        { keyId: idle, status: 'refused' },
      ]);
      expect(await reader.activityOf(orgId, [busy, idle])).toEqual([
        { keyId: busy, requests: 2, lastUsedMs: SAMPLE_TIME_MS + 9 },
      ]);
      expect(await reader.activityOf(orgId, [])).toEqual([]);
    });
  });
}
