import { beforeEach, describe, expect, test } from '@jest/globals';

import type { Clock } from '#libs/kernel';
import { parsePeppers, type KeyRecord } from '#libs/keys/core';

import { BudgetBlocks } from './budget-blocks.js';
import { KeyCache } from './key-cache.js';
import type { Principal } from './principal.js';

const KEY: KeyRecord = {
  keyId: '00000001-0000-4000-8000-000000000001',
  orgId: 'default',
  userId: 'bob',
  teamId: 'red',
  enabled: true,
  deleted: false,
  expiresAtMs: null,
  allowedModels: ['*'],
  block: null,
  budgetIds: ['b'],
  rev: 1,
};

let asked: number;
let answer: () => Promise<KeyRecord | null>;
let nowMs: number;
let blocks: BudgetBlocks;
let cache: KeyCache;
let failures: unknown[];

beforeEach(() => {
  asked = 0;
  nowMs = 0;
  failures = [];
  answer = async () => KEY;
  const clock = { nowMs: () => nowMs, monotonicMs: () => nowMs } as Clock;
  blocks = new BudgetBlocks(clock);
  cache = new KeyCache({
    directory: { findByDigest: () => (asked++, answer()) },
    peppers: parsePeppers(`v1:${Buffer.alloc(32, 1).toString('base64')}`),
    blocks,
    clock,
    logPartitions: 3,
    onRefreshError: (error) => failures.push(error),
  });
});

const look = async (): Promise<Principal | null> => cache.lookup('sk-some-key');

describe('a key', () => {
  test('is asked for once by many at once, and not at all afterwards', async () => {
    await Promise.all([look(), look(), look()]);
    expect(cache.lookup('sk-some-key')).not.toBeInstanceOf(Promise);
    expect(asked).toBe(1);
  });

  test('is refreshed behind the request once it is 20 s old, and used meanwhile', async () => {
    await look();
    nowMs = 20_000;
    answer = async () => ({ ...KEY, rev: 2 });
    expect((cache.lookup('sk-some-key') as Principal).record.rev).toBe(1);
    await new Promise(setImmediate);
    expect((cache.lookup('sk-some-key') as Principal).record.rev).toBe(2);
  });

  test('stopped without a word from the log is refused within 30 s, used in between or not', async () => {
    await look();
    answer = async () => ({ ...KEY, enabled: false, rev: 2 });
    nowMs = 29_999;
    expect((cache.lookup('sk-some-key') as Principal).record.enabled).toBe(true);
    await new Promise(setImmediate);
    expect((cache.lookup('sk-some-key') as Principal).record.enabled).toBe(false);
    answer = async () => ({ ...KEY, deleted: true, rev: 3 });
    nowMs = 59_999;
    expect((await look())?.record.deleted).toBe(true);
    answer = async () => null;
    nowMs = 89_999;
    expect(await look()).toBeNull();
  });

  test('stays in use while the directory is away, up to 10 minutes', async () => {
    await look();
    answer = () => Promise.reject(new Error('away'));
    nowMs = 599_999;
    expect((await look())?.record.rev).toBe(1);
    expect(failures).toHaveLength(1);
    nowMs = 600_000;
    await expect(look()).rejects.toThrow('away');
  });

  test('does not wait for a directory that failed within the last 5 s', async () => {
    await look();
    answer = () => Promise.reject(new Error('away'));
    nowMs = 40_000;
    expect((await look())?.record.rev).toBe(1);
    nowMs = 44_999;
    expect(cache.lookup('sk-some-key')).not.toBeInstanceOf(Promise);
    await new Promise(setImmediate);
    nowMs = 49_999;
    expect(cache.lookup('sk-some-key')).toBeInstanceOf(Promise);
    await new Promise(setImmediate);
    expect(failures).toHaveLength(3);
    answer = async () => ({ ...KEY, rev: 2 });
    nowMs = 54_999;
    expect((await look())?.record.rev).toBe(2);
    nowMs = 84_999;
    expect(cache.lookup('sk-some-key')).toBeInstanceOf(Promise);
  });

  test('changed while the directory is away is not used again until it can be asked', async () => {
    await look();
    answer = () => {
      cache.dropKey(KEY.keyId);
      return Promise.reject(new Error('away'));
    };
    nowMs = 30_000;
    await expect(look()).rejects.toThrow('away');
  });

  test('that is unknown is remembered until any key changes, at most 30 s', async () => {
    answer = async () => null;
    expect(await look()).toBeNull();
    expect(cache.lookup('sk-some-key')).toBeNull();
    expect(asked).toBe(1);
    cache.dropKey('another');
    expect(await look()).toBeNull();
    nowMs = 30_000;
    await look();
    expect(asked).toBe(3);
  });

  test('changed while it was being fetched is fetched again', async () => {
    const records = [KEY, { ...KEY, enabled: false, rev: 2 }];
    answer = async () => {
      const record = records.shift()!;
      if (records.length === 1) cache.dropKey(KEY.keyId);
      return record;
    };
    expect((await look())?.record.enabled).toBe(false);
    expect(asked).toBe(2);
  });

  test('is dropped by its own events and by those of its team', async () => {
    await look();
    cache.dropKey(KEY.keyId);
    await look();
    cache.dropWhere(({ record }) => record.teamId === 'red');
    await look();
    cache.dropWhere(({ record }) => record.teamId === 'blue');
    await look();
    expect(asked).toBe(3);
  });
});

describe('an exhausted budget', () => {
  const revoked = (rev: number, epoch = 1) => ({
    key_id: KEY.keyId,
    budget_id: 'b1',
    epoch,
    budget_rev: rev,
    reason: 'budget' as const,
    period: 'total',
    resets_at: null,
  });
  const exceeded = (rev: number, exhausted: boolean) => ({
    budget_id: 'b2',
    scope: 'team' as const,
    subject_id: 'red',
    epoch: 1,
    budget_rev: rev,
    exhausted,
    period: 'total',
    resets_at: null,
    limit_pusd: '1',
    settled_pusd: '1',
  });

  test('blocks its keys at once, cached or fetched later, whatever the directory still says', async () => {
    const before = await look();
    expect(blocks.hearBudget(exceeded(1, true))).toBe(true);
    cache.reblock('team', 'red');
    expect(before?.block).toMatchObject({ scope: 'team', budget_id: 'b2' });
    cache.dropKey(KEY.keyId);
    expect((await look())?.block).toMatchObject({ budget_id: 'b2' });
  });

  test('unblocks by newer news only, and a block the directory still shows is overruled', async () => {
    answer = async () => ({
      ...KEY,
      block: { reason: 'budget', scope: 'key', budget_id: 'b1', period: 'total', resets_at: null },
    });
    expect((await look())?.block).not.toBeNull();
    expect(blocks.hearKey(revoked(5), true)).toBe(true);
    expect(blocks.hearKey(revoked(4), false)).toBe(false);
    cache.reblock('key', KEY.keyId);
    expect((await look())?.block).not.toBeNull();
    expect(blocks.hearKey(revoked(1, 2), false)).toBe(true);
    cache.reblock('key', KEY.keyId);
    expect((await look())?.block).toBeNull();
  });

  test('blocks its keys no longer than the directory says so, should news of its end be lost', async () => {
    expect((await look())?.block).toBeNull();
    nowMs = 10_000;
    blocks.hearKey(revoked(1), true);
    cache.reblock('key', KEY.keyId);
    expect((await look())?.block).toMatchObject({ budget_id: 'b1' });
    nowMs = 69_999;
    expect((await look())?.block).toMatchObject({ budget_id: 'b1' });
    nowMs = 99_999;
    expect((await look())?.block).toBeNull();
  });

  test('stays in force when the directory says so, whatever was heard long before', async () => {
    blocks.hearKey(revoked(1), true);
    blocks.hearKey(revoked(2), false);
    answer = async () => ({
      ...KEY,
      block: { reason: 'budget', scope: 'key', budget_id: 'b1', period: 'total', resets_at: null },
    });
    expect((await look())?.block).toBeNull();
    nowMs = 60_000;
    expect((await look())?.block).not.toBeNull();
  });

  test('blocks nobody once its budget is deleted, and old news of it stays old', async () => {
    expect((await look())?.block).toBeNull();
    expect(blocks.hearKey(revoked(5), true)).toBe(true);
    blocks.lift('b1');
    expect(blocks.hearKey(revoked(5), true)).toBe(false);
    cache.reblock('key', KEY.keyId);
    expect((await look())?.block).toBeNull();
    expect(blocks.hearKey(revoked(6), true)).toBe(true);
    cache.reblock('key', KEY.keyId);
    expect((await look())?.block).not.toBeNull();
  });
});
