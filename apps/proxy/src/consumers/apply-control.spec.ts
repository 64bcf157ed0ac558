/**
 * Guarantee: revocations that come twice, late or after a reset leave a key as the newest news of its
 * budget by (epoch, budget_rev) says, after every single delivery (E6). Method: any delivery of any
 * history against a model.
 */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import type { LogRecord } from '#libs/event-log/core';
import type { Clock } from '#libs/kernel';
import { parsePeppers, type KeyRecord } from '#libs/keys/core';

import { BudgetBlocks } from '../admission/budget-blocks.js';
import { KeyCache } from '../admission/key-cache.js';
import { ApplyControl } from './apply-control.js';

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
const BUDGET = { budget_id: 'b', period: 'total', resets_at: null };

/** One change of a budget's state, or its deletion. */
type Change = { readonly epoch: number; readonly rev: number; readonly isOut: boolean } | 'deleted';

/** Histories in which each change follows the one before: the state turns, or a new epoch begins. */
const histories = fc
  .array(fc.constantFrom('turn', 'reset'), { minLength: 2, maxLength: 12 })
  .map((steps) => {
    let state = { epoch: 1, rev: 0, isOut: false };
    return steps.map((step) => {
      const isReset = step === 'reset';
      state = {
        epoch: state.epoch + (isReset ? 1 : 0),
        rev: state.rev + 1,
        isOut: !isReset && !state.isOut,
      };
      return state;
    });
  });

/** Deliveries of a history: every change one to four times, in any order, the deletion anywhere. */
const deliveries = histories.chain((history) =>
  fc
    .tuple(
      fc.array(fc.constantFrom<Change>(...history), { maxLength: history.length * 3 }),
      fc.boolean(),
    )
    .chain(([repeats, isDeleted]) => {
      const all: Change[] = [...history, ...repeats, ...(isDeleted ? ['deleted' as const] : [])];
      return fc.shuffledSubarray(all, { minLength: all.length, maxLength: all.length });
    }),
);

function record(type: string, data: object): LogRecord {
  return {
    topic: 'control',
    partition: 0,
    key: 'b',
    headers: { ce_type: type },
    value: Buffer.from(JSON.stringify(data)),
    offset: 0n,
    appendedAtMs: 0,
  };
}

/** The events that one change is said with: a key's budget is said twice, in two forms. */
function eventsOf(change: Change): readonly LogRecord[] {
  if (change === 'deleted') {
    const data = {
      budget_id: 'b',
      scope: 'key',
      scope_id: KEY.keyId,
      deleted: true,
      enabled: true,
    };
    return [record('budget.deleted.v1', data)];
  }
  const { epoch, rev, isOut } = change;
  const shared = { ...BUDGET, epoch, budget_rev: rev };
  return [
    record(isOut ? 'budget.exceeded.v1' : 'budget.reinstated.v1', {
      ...shared,
      scope: 'key',
      subject_id: KEY.keyId,
      exhausted: isOut,
    }),
    record(isOut ? 'key.revoked.v1' : 'key.reinstated.v1', { ...shared, key_id: KEY.keyId }),
  ];
}

function isNewer(change: Exclude<Change, string>, known: Exclude<Change, string>): boolean {
  return change.epoch > known.epoch || (change.epoch === known.epoch && change.rev > known.rev);
}

describe('revocations', () => {
  test('heard twice, late and after a reset, the newest decides after each of them', async () => {
    await fc.assert(
      fc.asyncProperty(deliveries, async (changes) => {
        const clock = { nowMs: () => 0, monotonicMs: () => 0 } as Clock;
        const blocks = new BudgetBlocks(clock);
        const keys = new KeyCache({
          directory: { findByDigest: async () => KEY },
          peppers: parsePeppers(`v1:${Buffer.alloc(32, 1).toString('base64')}`),
          blocks,
          clock,
          logPartitions: 3,
          onRefreshError: () => undefined,
        });
        const control = new ApplyControl({
          keys,
          blocks,
          catalogue: { refresh: () => undefined },
        });
        await keys.lookup('sk');
        let known = { epoch: 0, rev: 0, isOut: false };
        for (const change of changes) {
          for (const event of eventsOf(change)) control.apply(event);
          if (change === 'deleted') known = { ...known, isOut: false };
          else if (isNewer(change, known)) known = change;
          expect((await keys.lookup('sk'))!.block !== null).toBe(known.isOut);
        }
      }),
      { numRuns: 2_000 },
    );
  });
});
