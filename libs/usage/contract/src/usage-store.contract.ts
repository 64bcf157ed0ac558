import { createHash, randomUUID } from 'node:crypto';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import { picoUsd, ZERO_PICO_USD } from '#libs/kernel';
import {
  cellsOf,
  digestOfRejections,
  digestOfUsage,
  type BatchKey,
  type UsageReader,
  type UsageRow,
  type UsageStore,
} from '#libs/usage/core';
import {
  SAMPLE_MONTH,
  SAMPLE_TIME_MS,
  sampleFilter,
  sampleRejectionRow,
  sampleSeal,
  sampleUsageRow,
} from '#libs/usage/samples';

import type { UsageHarness } from './usage-harness.js';

const MONTHS = [SAMPLE_MONTH];
const NOTHING = { rows: 0, costPicoUsd: 0n, chargePicoUsd: 0n, xor64: 0n };

/** Largest pause of the event loop beside a read of two seconds, milliseconds; seen: 11 when idle. */
const MAX_LOOP_GAP_MS = 500;
/** Reads that are looked at before one that stalls or holds up is blamed on the engine, not the machine. */
const MOST_READS = 4;

/**
 * What metering rests on: a token stores once and only itself, a batch is proved by its digest, and
 * figures come back exact. Both engines pass it.
 */
export function usageStoreContract(name: string, open: () => Promise<UsageHarness>): void {
  describe(`usage store: ${name}`, () => {
    let harness: UsageHarness;
    let store: UsageStore;
    let reader: UsageReader;

    beforeAll(async () => {
      harness = await open();
      store = harness.openStore();
      reader = harness.openReader();
    });
    afterAll(() => harness.close());

    async function seal(key: BatchKey, rows: readonly UsageRow[]): Promise<void> {
      await store.insertSeals([sampleSeal(key.batchId, rows)], SAMPLE_TIME_MS);
    }

    test('digests of many batches come in one read; a batch without rows is absent', async () => {
      const batches = [batch(2), batch(3)];
      for (const { key, rows } of batches) await store.insertUsage(key, rows);
      const ids = [...batches.map(({ key }) => key.batchId), freshKey().batchId];
      expect(await store.digestsOf('usage', ids, MONTHS)).toEqual(
        new Map(batches.map(({ key, rows }) => [key.batchId, digestOfUsage(rows)])),
      );
      expect(await store.digestsOf('usage', [], MONTHS)).toEqual(new Map());
    });

    test('migrating twice changes nothing and the settings check passes', async () => {
      const { key, rows } = batch(3);
      await store.insertUsage(key, rows);
      await store.migrate();
      expect(await store.digestOf('usage', key.batchId, MONTHS)).toEqual(digestOfUsage(rows));
    });

    test('a stored batch has the digest that was computed before the insert', async () => {
      const { key, rows } = batch(500);
      await store.insertUsage(key, rows);
      expect(await store.digestOf('usage', key.batchId, MONTHS)).toEqual(digestOfUsage(rows));
    });

    test('refusals are stored and proved in the same way', async () => {
      const key = freshKey();
      const rows = Array.from({ length: 7 }, () => sampleRejectionRow());
      await store.insertRejections(key, rows);
      await store.insertRejections(key, rows);
      expect(await store.digestOf('rejection', key.batchId, MONTHS)).toEqual(
        digestOfRejections(rows),
      );
      expect(await store.eventIdsOf('rejection', key.batchId, MONTHS)).toHaveLength(7);
      await store.deleteBatch('rejection', key.batchId);
      expect(await store.digestOf('rejection', key.batchId, MONTHS)).toEqual(NOTHING);
    });

    test('a batch that is not there has an empty digest', async () => {
      expect(await store.digestOf('usage', freshKey().batchId, MONTHS)).toEqual(NOTHING);
    });

    test('a batch is not found under another month', async () => {
      const { key, rows } = batch(2);
      await store.insertUsage(key, rows);
      expect(await store.digestOf('usage', key.batchId, [SAMPLE_MONTH - 1])).toEqual(NOTHING);
      expect(await store.digestOf('usage', key.batchId, [SAMPLE_MONTH - 1, SAMPLE_MONTH])).toEqual(
        digestOfUsage(rows),
      );
    });

    test('an insert without rows stores nothing and keeps its token', async () => {
      const { key, rows } = batch(1);
      await store.insertUsage(key, []);
      await store.insertUsage(key, rows);
      expect(await store.digestOf('usage', key.batchId, MONTHS)).toEqual(digestOfUsage(rows));
    });

    test('rows of two months in one insert are refused before anything is stored', async () => {
      const key = freshKey();
      const rows = [
        sampleUsageRow(),
        sampleUsageRow({ recordedAtMs: SAMPLE_TIME_MS + 40 * 86_400_000 }),
      ];
      await expect(store.insertUsage(key, rows)).rejects.toMatchObject({
        code: 'internal.assertion',
      });
      expect(await store.digestOf('usage', key.batchId, [202611, 202612])).toEqual(NOTHING);
    });

    test('the same token inserted twice stores once', async () => {
      const { key, rows } = batch(20);
      await store.insertUsage(key, rows);
      await store.insertUsage(key, rows);
      expect(await store.digestOf('usage', key.batchId, MONTHS)).toEqual(digestOfUsage(rows));
    });

    test('a token stores once also across sessions', async () => {
      const { key, rows } = batch(20);
      const other = harness.openStore();
      await store.insertUsage(key, rows);
      await other.insertUsage(key, rows);
      expect(await store.digestOf('usage', key.batchId, MONTHS)).toEqual(digestOfUsage(rows));
    });

    test('a known token drops other rows silently, so a token is bound to its rows', async () => {
      const { key, rows } = batch(5);
      await store.insertUsage(key, rows);
      await store.insertUsage(key, batch(4).rows);
      expect(await store.digestOf('usage', key.batchId, MONTHS)).toEqual(digestOfUsage(rows));
    });

    test('the token of one insert does not swallow the next', async () => {
      const batches = Array.from({ length: 5 }, (_, index) => batch(index + 1));
      for (const { key, rows } of batches) await store.insertUsage(key, rows);
      for (const { key, rows } of batches) {
        expect(await store.digestOf('usage', key.batchId, MONTHS)).toEqual(digestOfUsage(rows));
      }
    });

    test('what earlier calls left in a session changes neither inserts nor answers', async () => {
      const { key, rows } = batch(4);
      await harness.disturbSessions();
      await store.insertUsage(key, rows);
      await seal(key, rows);
      await harness.disturbSessions();
      expect(await store.digestOf('usage', key.batchId, MONTHS)).toEqual(digestOfUsage(rows));
      const found = await reader.attempts(keyFilter(rows), null, 10);
      expect(found).toHaveLength(4);
      expect(found[0]!.occurredAtMs).toBe(SAMPLE_TIME_MS);
      expect(found[0]!.costPicoUsd).toBe(27_000_000n);
    });

    test('a deleted batch is stored again under the next token, never under the first', async () => {
      const { key, rows } = batch(10);
      await store.insertUsage(key, rows);
      await store.deleteBatch('usage', key.batchId);
      expect(await store.digestOf('usage', key.batchId, MONTHS)).toEqual(NOTHING);
      await store.insertUsage(key, rows);
      expect(await store.digestOf('usage', key.batchId, MONTHS)).toEqual(NOTHING);
      await store.insertUsage({ ...key, token: `${key.batchId}:r1` }, rows);
      expect(await store.digestOf('usage', key.batchId, MONTHS)).toEqual(digestOfUsage(rows));
      await seal(key, rows);
      expect(await reader.attempts(keyFilter(rows), null, 100)).toHaveLength(10);
    });

    test('deleting one batch leaves the others whole', async () => {
      const [kept, gone] = [batch(6), batch(6)];
      await store.insertUsage(kept.key, kept.rows);
      await store.insertUsage(gone.key, gone.rows);
      await store.deleteBatch('usage', gone.key.batchId);
      expect(await store.digestOf('usage', kept.key.batchId, MONTHS)).toEqual(
        digestOfUsage(kept.rows),
      );
    });

    test('the missing rows of a part-stored batch are found by their ids', async () => {
      const { key, rows } = batch(8);
      await store.insertUsage(key, rows.slice(0, 5));
      const present = new Set(await store.eventIdsOf('usage', key.batchId, MONTHS));
      const missing = rows.filter((row) => !present.has(row.eventId));
      expect(missing).toEqual(rows.slice(5));
      await store.insertUsage({ ...key, token: `${key.batchId}:r1` }, missing);
      expect(await store.digestOf('usage', key.batchId, MONTHS)).toEqual(digestOfUsage(rows));
    });

    test('money at the ends of its range and every bit of an id come back exact', async () => {
      const key = freshKey();
      const most = picoUsd(99_999_999_999_999_999_999_999_999_999_999_999_999n);
      const rows = [
        sampleUsageRow({
          eventId: 'ffffffff-ffff-ffff-ffff-ffffffffffff',
          costPicoUsd: picoUsd(-1n),
          chargePicoUsd: most,
          tokensIn: Number.MAX_SAFE_INTEGER,
          usage: { input_text: Number.MAX_SAFE_INTEGER },
          emitterSeq: 18_446_744_073_709_551_615n,
          keyId: randomUUID(),
        }),
        sampleUsageRow({
          eventId: '00000000-0000-0000-8000-000000000001',
          costPicoUsd: picoUsd(-1n),
          chargePicoUsd: ZERO_PICO_USD,
        }),
      ];
      await store.insertUsage(key, rows);
      await seal(key, rows);
      expect(await store.digestOf('usage', key.batchId, MONTHS)).toEqual(digestOfUsage(rows));
      expect(await store.eventIdsOf('usage', key.batchId, MONTHS)).toEqual(
        expect.arrayContaining(rows.map((row) => row.eventId)),
      );
      const [found] = await reader.attempts(keyFilter(rows), null, 1);
      expect(found).toMatchObject({
        eventId: rows[0]!.eventId,
        costPicoUsd: -1n,
        chargePicoUsd: most,
        tokensIn: Number.MAX_SAFE_INTEGER,
      });
    });

    test('text of any kind is stored as it is', async () => {
      const key = freshKey();
      const text = `a'b"c\\d\ne\tf; DROP TABLE raw_usage_v1 -- é 漢 \u0001 {x:String}`;
      const rows = [sampleUsageRow({ userId: text, model: text, rawUsage: text, flags: [text] })];
      await store.insertUsage(key, rows);
      await seal(key, rows);
      const found = await reader.attempts(
        sampleFilter({ userIds: [text], models: [text] }),
        null,
        10,
      );
      expect(found.map((one) => [one.userId, one.model])).toEqual([[text, text]]);
    });

    test('many rows are one insert that stores once', async () => {
      const { key, rows } = batch(10_000);
      await store.insertUsage(key, rows);
      await store.insertUsage(key, rows);
      expect(await store.digestOf('usage', key.batchId, MONTHS)).toEqual(digestOfUsage(rows));
    });

    test('writers side by side and reads between them keep every batch whole', async () => {
      const stores = [store, harness.openStore(), harness.openStore()];
      const batches = Array.from({ length: 12 }, () => batch(25));
      await Promise.all(
        batches.map(async ({ key, rows }, index) => {
          await stores[index % stores.length]!.insertUsage(key, rows);
          await reader.sums({ ...keyFilter(rows), bucket: 'none', groupBy: [], maxRows: 1 });
        }),
      );
      for (const { key, rows } of batches) {
        expect(await store.digestOf('usage', key.batchId, MONTHS)).toEqual(digestOfUsage(rows));
      }
    });

    test('a reader sees rows as soon as their batch is sealed, and not before', async () => {
      const { key, rows } = batch(3);
      await store.insertUsage(key, rows);
      await store.insertCells(
        { ...key, token: `${key.batchId}:roll` },
        SAMPLE_MONTH,
        cellsOf(rows),
      );
      const question = { ...keyFilter(rows), bucket: 'none', groupBy: [], maxRows: 1 } as const;
      expect(await reader.attempts(keyFilter(rows), null, 10)).toEqual([]);
      expect(await reader.sums(question)).toEqual([]);
      await seal(key, rows);
      expect(await reader.attempts(keyFilter(rows), null, 10)).toHaveLength(3);
      expect((await reader.sums(question))[0]?.requests).toBe(3);
    });

    test('a rollup written again and a seal written again change no figure', async () => {
      const { key, rows } = batch(4);
      await store.insertUsage(key, rows);
      for (const token of ['roll', 'roll', 'roll:2']) {
        const again = { ...key, token: `${key.batchId}:${token}` };
        await store.insertCells(again, SAMPLE_MONTH, cellsOf(rows));
      }
      for (const token of ['roll:3', 'roll:4']) {
        const again = { ...key, token: `${key.batchId}:${token}` };
        await store.overwriteCells(again, SAMPLE_MONTH, cellsOf(rows));
      }
      await seal(key, rows);
      await seal(key, rows);
      const question = { ...keyFilter(rows), bucket: 'hour', groupBy: [], maxRows: 9 } as const;
      const figures = await reader.sums(question);
      expect(figures).toHaveLength(1);
      expect(figures[0]).toMatchObject({ requests: 4, chargePicoUsd: 4n * 30_000_000n });
      await store.deleteBatch('usage', key.batchId);
      expect(await reader.sums(question)).toEqual([]);
    });

    test('ending an insert that is over changes nothing', async () => {
      const { key, rows } = batch(2);
      await store.insertUsage(key, rows);
      await store.endInsert(key);
      expect(await store.digestOf('usage', key.batchId, MONTHS)).toEqual(digestOfUsage(rows));
    });

    test('a read of two seconds neither stalls the event loop nor holds up a write', async () => {
      const beside: { readonly wasOver: boolean; readonly longestGapMs: number }[] = [];
      const isFree = (): boolean =>
        beside.some(({ wasOver, longestGapMs }) => !wasOver && longestGapMs < MAX_LOOP_GAP_MS);
      while (!isFree() && beside.length < MOST_READS) beside.push(await writeBesideRead());
      expect([isFree(), beside]).toEqual([true, beside]);
    });

    /** Whether a read was over before a write that began after it, and how long the loop stood still. */
    async function writeBesideRead(): Promise<{
      readonly wasOver: boolean;
      readonly longestGapMs: number;
    }> {
      const { key, rows } = batch(5);
      let longestGapMs = 0;
      let last = performance.now();
      const timer = setInterval(() => {
        const now = performance.now();
        longestGapMs = Math.max(longestGapMs, now - last);
        last = now;
      }, 2);
      let isOver = false;
      const slow = harness.slowRead().then(() => {
        isOver = true;
      });
      await store.insertUsage(key, rows);
      const wasOver = isOver;
      await slow;
      clearInterval(timer);
      return { wasOver, longestGapMs };
    }

    test('the error of a failed insert shows no row data', async () => {
      const key = freshKey();
      const secret = 'row-data-that-nobody-may-see';
      const rows = [sampleUsageRow({ eventId: secret })];
      const error: unknown = await store.insertUsage(key, rows).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ code: 'clickhouse.failed', kind: 'internal' });
      const shown = JSON.stringify([
        error,
        (error as Error).message,
        Object.entries(error as object),
      ]);
      expect(shown).not.toContain(secret);
    });
  });
}

function freshKey(): BatchKey {
  const batchId = createHash('sha256').update(randomUUID()).digest('hex');
  return { batchId, token: batchId };
}

function batch(count: number): { readonly key: BatchKey; readonly rows: readonly UsageRow[] } {
  const keyId = randomUUID();
  return { key: freshKey(), rows: Array.from({ length: count }, () => sampleUsageRow({ keyId })) };
}

function keyFilter(rows: readonly UsageRow[]): ReturnType<typeof sampleFilter> {
  return sampleFilter({ keyIds: [rows[0]!.keyId] });
}
