import { describe, expect, test } from '@jest/globals';

import { picoUsd } from '#libs/kernel';

import type { PlaceHoldInput } from '../ports/budget-authority.port.js';
import type { AccountState } from './account.js';
import { answerKnownHold, decideHolds, type KnownHold } from './hold.decider.js';

const KEY: AccountState = {
  budgetId: 'b-key',
  epoch: 1,
  scope: 'key',
  subjectId: 'k',
  period: 'total',
  limitPicoUsd: picoUsd(1_000n),
  settledPicoUsd: picoUsd(0n),
  heldPicoUsd: picoUsd(0n),
  leasedPicoUsd: picoUsd(0n),
  thresholds: [],
  firedThresholds: [],
  enabled: true,
  deleted: false,
  isCurrent: true,
  blocked: false,
  budgetRev: 0,
  definitionRev: 1,
};
const TEAM: AccountState = { ...KEY, budgetId: 'a-team', scope: 'team', subjectId: 't' };

function request(holdId: string, want: bigint, least = want): PlaceHoldInput {
  return {
    holdId,
    subjects: [
      { scope: 'key', subjectId: 'k' },
      { scope: 'team', subjectId: 't' },
    ],
    wantPicoUsd: picoUsd(want),
    leastPicoUsd: picoUsd(least),
  };
}

describe('deciding holds', () => {
  test('a hold is taken from every level, its budgets ascending by id', () => {
    const { results, newHolds, accounts } = decideHolds([KEY, TEAM], [request('h', 300n)]);
    expect(results).toEqual([
      {
        holdId: 'h',
        outcome: 'held',
        amountPicoUsd: 300n,
        budgets: [
          { budget_id: 'a-team', epoch: 1 },
          { budget_id: 'b-key', epoch: 1 },
        ],
      },
    ]);
    expect(newHolds).toHaveLength(1);
    expect(accounts.map((each) => each.heldPicoUsd)).toEqual([300n, 300n]);
  });

  test('a budget that the caller expects and nobody defined yet lets nothing past', () => {
    const expecting = (...ids: string[]): PlaceHoldInput => ({
      ...request('h', 300n),
      expectedBudgetIds: ids,
    });
    expect(decideHolds([KEY], [expecting('b-key', 'on-its-way')])).toMatchObject({
      results: [{ outcome: 'refused', reason: 'budget_reserved', budgetId: 'on-its-way' }],
      newHolds: [],
      accounts: [],
    });
    const gone = { ...TEAM, deleted: true };
    expect(decideHolds([KEY, gone], [expecting('b-key', 'a-team')]).results).toMatchObject([
      { outcome: 'held', budgets: [{ budget_id: 'b-key' }] },
    ]);
  });

  test('a hold that one level cannot bear is taken from none', () => {
    const tight = { ...TEAM, limitPicoUsd: picoUsd(100n) };
    const { results, newHolds, accounts } = decideHolds([KEY, tight], [request('h', 300n)]);
    expect(results[0]).toMatchObject({
      outcome: 'refused',
      reason: 'budget_exceeded',
      exhausted: false,
      budgetId: 'a-team',
      scope: 'team',
      period: 'total',
      resetsAt: null,
      retryAfterMs: 0,
    });
    expect(newHolds).toEqual([]);
    expect(accounts).toEqual([]);
  });

  test('the amount is clamped to what the tightest level has left', () => {
    const tight = { ...TEAM, heldPicoUsd: picoUsd(600n), leasedPicoUsd: picoUsd(150n) };
    const { results } = decideHolds([KEY, tight], [request('h', 300n, 200n)]);
    expect(results[0]).toMatchObject({ outcome: 'held', amountPicoUsd: 250n });
  });

  test('when only holds stand in the way the refusal is worth retrying within a minute', () => {
    const busy = { ...KEY, heldPicoUsd: picoUsd(900n) };
    const { results } = decideHolds([busy, TEAM], [request('h', 300n, 101n)]);
    expect(results[0]).toMatchObject({
      outcome: 'refused',
      reason: 'budget_reserved',
      exhausted: false,
      budgetId: 'b-key',
      retryAfterMs: 1_000,
    });
  });

  test('an exhausted level is named before one that is only reserved', () => {
    const busy = { ...KEY, heldPicoUsd: picoUsd(1_000n) };
    const spent = { ...TEAM, settledPicoUsd: picoUsd(999n) };
    const { results } = decideHolds([busy, spent], [request('h', 300n, 1n)]);
    expect(results[0]).toMatchObject({
      reason: 'budget_exceeded',
      exhausted: true,
      budgetId: 'a-team',
    });
  });

  test('of two exhausted levels the key is named', () => {
    const spent = { settledPicoUsd: picoUsd(1_000n) };
    const { results } = decideHolds(
      [
        { ...TEAM, ...spent },
        { ...KEY, ...spent },
      ],
      [request('h', 1n)],
    );
    expect(results[0]).toMatchObject({ budgetId: 'b-key' });
  });

  test('requests are decided in the given order, each on what the former left', () => {
    const { results } = decideHolds(
      [KEY],
      [request('a', 600n), request('b', 600n), request('c', 400n), request('d', 1n)],
    );
    expect(results.map((each) => each.outcome)).toEqual(['held', 'refused', 'held', 'refused']);
    expect(results[1]).toMatchObject({ reason: 'budget_reserved' });
  });

  test('an id placed twice in one batch takes money once and answers twice the same', () => {
    const { results, accounts } = decideHolds([KEY], [request('a', 600n), request('a', 600n)]);
    expect(results[0]).toEqual(results[1]);
    expect(accounts[0]?.heldPicoUsd).toBe(600n);
  });

  test('a subject without an enforced budget gets what it wants and no hold is stored', () => {
    const none = [
      { ...KEY, enabled: false },
      { ...TEAM, deleted: true },
      { ...KEY, budgetId: 'over', isCurrent: false },
    ];
    const { results, newHolds } = decideHolds(none, [request('h', 5_000n)]);
    expect(results).toEqual([{ holdId: 'h', outcome: 'held', amountPicoUsd: 5_000n, budgets: [] }]);
    expect(newHolds).toEqual([]);
  });

  test('a subject named twice is held once', () => {
    const twice = { ...request('h', 300n), subjects: [KEY, KEY] };
    const { accounts } = decideHolds([KEY], [twice]);
    expect(accounts[0]?.heldPicoUsd).toBe(300n);
  });
});

describe('placing a known id again', () => {
  const known: KnownHold = {
    holdId: 'h',
    emitterId: 'e',
    amountPicoUsd: picoUsd(200n),
    budgets: [{ budget_id: 'b-key', epoch: 1 }],
    state: 'open',
  };

  test('an open hold answers as the first time, whatever is left now', () => {
    const full = { ...KEY, heldPicoUsd: picoUsd(1_000n) };
    expect(answerKnownHold(known, 'e', request('h', 300n), [full])).toEqual({
      holdId: 'h',
      outcome: 'held',
      amountPicoUsd: 200n,
      budgets: known.budgets,
    });
  });

  test.each([
    ['released', { ...known, state: 'released' as const }, 'e'],
    ['settled', { ...known, state: 'settled' as const }, 'e'],
    ['another emitter’s', known, 'other'],
  ])('a %s hold is refused, because no money stands behind it', (_name, hold, emitterId) => {
    expect(answerKnownHold(hold, emitterId, request('h', 300n), [KEY])).toMatchObject({
      outcome: 'refused',
      reason: 'budget_reserved',
      budgetId: 'b-key',
    });
  });
});
