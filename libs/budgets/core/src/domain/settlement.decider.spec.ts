import { describe, expect, test } from '@jest/globals';

import type { UsageRatedV1 } from '#libs/events';
import { picoUsd } from '#libs/kernel';

import type { AccountState } from './account.js';
import type { KnownHold } from './hold.decider.js';
import { settleBatch } from './settlement.decider.js';

const KEY: AccountState = {
  budgetId: 'b-key',
  epoch: 1,
  scope: 'key',
  subjectId: 'k',
  period: 'total',
  limitPicoUsd: picoUsd(1_000_000n),
  settledPicoUsd: picoUsd(0n),
  heldPicoUsd: picoUsd(500n),
  leasedPicoUsd: picoUsd(0n),
  thresholds: [0.5, 0.8],
  firedThresholds: [],
  enabled: true,
  deleted: false,
  isCurrent: true,
  blocked: false,
  budgetRev: 0,
  definitionRev: 1,
};
const HOLD: KnownHold = {
  holdId: 'h',
  emitterId: 'e',
  amountPicoUsd: picoUsd(500n),
  budgets: [{ budget_id: 'b-key', epoch: 1 }],
  state: 'open',
};

function rated(subject: bigint, holds: readonly [string, bigint][]): UsageRatedV1 {
  return {
    batch_id: 'batch',
    source: { topic: 'request.completed', partition: 0, first: '0', last: '9' },
    subjects: [
      {
        scope: 'key',
        subject_id: 'k',
        events: 1,
        charge_pusd: String(subject),
        tokens_in: 1,
        tokens_out: 1,
      },
    ],
    holds: holds.map(([hold_id, charge]) => ({
      hold_id,
      charge_pusd: String(charge),
      provenance: 'measured',
    })),
    watermarks: [],
  };
}

describe('settling a rated batch', () => {
  test('a hold is replaced by its charge', () => {
    const changes = settleBatch({ accounts: [KEY], holds: [HOLD] }, rated(200n, [['h', 200n]]));
    expect(changes.accounts).toMatchObject([{ settledPicoUsd: 200n, heldPicoUsd: 0n }]);
    expect(changes.settledHolds).toEqual([{ holdId: 'h', chargePicoUsd: 200n }]);
    expect(changes.subjects).toEqual([{ scope: 'key', subjectId: 'k', chargePicoUsd: 200n }]);
    expect(changes.overruns).toEqual([]);
  });

  test('what was not held on an account lands on its current epoch', () => {
    const changes = settleBatch({ accounts: [KEY], holds: [HOLD] }, rated(350n, [['h', 200n]]));
    expect(changes.accounts).toMatchObject([{ settledPicoUsd: 350n, heldPicoUsd: 0n }]);
  });

  test('a budget created after the hold was placed gets the charge as well, once', () => {
    const young = { ...KEY, budgetId: 'young', heldPicoUsd: picoUsd(0n) };
    const changes = settleBatch(
      { accounts: [KEY, young], holds: [HOLD] },
      rated(200n, [['h', 200n]]),
    );
    expect(changes.accounts.map((each) => each.settledPicoUsd)).toEqual([200n, 200n]);
  });

  test('a hold of an epoch that is over lands there and not on the current one', () => {
    const over = { ...KEY, isCurrent: false };
    const current = { ...KEY, epoch: 2, heldPicoUsd: picoUsd(0n) };
    const changes = settleBatch(
      { accounts: [over, current], holds: [HOLD] },
      rated(200n, [['h', 200n]]),
    );
    expect(changes.accounts).toMatchObject([{ epoch: 1, settledPicoUsd: 200n, heldPicoUsd: 0n }]);
  });

  test('disabled and deleted accounts are counted on', () => {
    const gone = { ...KEY, heldPicoUsd: picoUsd(0n), enabled: false, deleted: true };
    const changes = settleBatch({ accounts: [gone], holds: [] }, rated(999_999n, []));
    expect(changes.accounts).toMatchObject([{ settledPicoUsd: 999_999n, blocked: false }]);
    expect(changes.events).toEqual([]);
  });

  test('a charge above its hold is settled whole and recorded as an overrun', () => {
    const changes = settleBatch({ accounts: [KEY], holds: [HOLD] }, rated(700n, [['h', 700n]]));
    expect(changes.accounts).toMatchObject([{ settledPicoUsd: 700n, heldPicoUsd: 0n }]);
    expect(changes.overruns).toEqual([
      { holdId: 'h', heldPicoUsd: 500n, chargePicoUsd: 700n, cause: 'charge_above_hold' },
    ]);
  });

  test.each(['released', 'settled'] as const)(
    'a charge on a %s hold is settled, gives nothing back and is recorded as an overrun',
    (state) => {
      const changes = settleBatch(
        { accounts: [KEY], holds: [{ ...HOLD, state }] },
        rated(200n, [['h', 200n]]),
      );
      expect(changes.accounts).toMatchObject([{ settledPicoUsd: 200n, heldPicoUsd: 500n }]);
      expect(changes.settledHolds).toEqual([]);
      expect(changes.overruns).toMatchObject([{ cause: 'hold_not_open', heldPicoUsd: 0n }]);
    },
  );

  test('an attempt that was not sent frees its hold and costs nothing', () => {
    const changes = settleBatch({ accounts: [KEY], holds: [HOLD] }, rated(0n, [['h', 0n]]));
    expect(changes.accounts).toMatchObject([{ settledPicoUsd: 0n, heldPicoUsd: 0n }]);
    expect(changes.overruns).toEqual([]);
  });

  test('each threshold is announced once, and exhaustion blocks in the same step', () => {
    const first = settleBatch({ accounts: [KEY], holds: [] }, rated(600_000n, []));
    expect(first.events.map((each) => each.type)).toEqual(['budget.threshold.v1']);
    const second = settleBatch({ accounts: first.accounts, holds: [] }, rated(399_000n, []));
    expect(second.events).toMatchObject([
      { type: 'budget.threshold.v1', data: { threshold: 0.8, settled_pusd: '999000' } },
      { type: 'budget.exceeded.v1', data: { exhausted: true, budget_rev: 1, scope: 'key' } },
      { type: 'key.revoked.v1', data: { key_id: 'k', budget_rev: 1, reason: 'budget' } },
    ]);
    const third = settleBatch({ accounts: second.accounts, holds: [] }, rated(5_000n, []));
    expect(third.events).toEqual([]);
    expect(third.accounts).toMatchObject([{ settledPicoUsd: 1_004_000n, blocked: true }]);
  });

  test('a hold whose attempt no longer names its subject ends all the same, at its charge', () => {
    const changes = settleBatch({ accounts: [KEY], holds: [HOLD] }, rated(100n, [['h', 200n]]));
    expect(changes.accounts).toMatchObject([{ settledPicoUsd: 200n, heldPicoUsd: 0n }]);
    expect(changes.settledHolds).toEqual([{ holdId: 'h', chargePicoUsd: 200n }]);
  });
});

describe('a message as a later emitter may write it', () => {
  test('a subject that is named twice is charged the sum', () => {
    const once = rated(200n, [['h', 200n]]);
    const twice = { ...once, subjects: [...once.subjects, ...once.subjects] };
    const { accounts, subjects } = settleBatch({ accounts: [KEY], holds: [HOLD] }, twice);
    expect(subjects).toEqual([{ scope: 'key', subjectId: 'k', chargePicoUsd: 400n }]);
    expect(accounts).toMatchObject([{ settledPicoUsd: 400n }]);
  });

  test('a hold whose subject is not named is settled all the same, and never below zero', () => {
    const message = { ...rated(0n, [['h', 200n]]), subjects: [] };
    const { accounts } = settleBatch({ accounts: [KEY], holds: [HOLD] }, message);
    expect(accounts).toMatchObject([{ settledPicoUsd: 200n, heldPicoUsd: 0n }]);
  });
});
