import { describe, expect, test } from '@jest/globals';

import { picoUsd } from '#libs/kernel';

import type { BudgetDefinitionInput } from '../ports/budget-authority.port.js';
import { assessAccount } from './assessment.decider.js';
import { applyDefinition } from './definition.decider.js';
import { isExhausted } from './exhaustion.js';
import { placeInSequence } from './sequence.decider.js';
import { hasReached } from './threshold.js';

const DEFINITION: BudgetDefinitionInput = {
  budgetId: 'b',
  scope: 'team',
  subjectId: 't',
  period: 'total',
  limitPicoUsd: picoUsd(1_000_000n),
  thresholds: [0.8],
  enabled: true,
  deleted: false,
  rev: 1,
};

function opened(spent: bigint, change: Partial<BudgetDefinitionInput> = {}) {
  const assessed = applyDefinition(null, { ...DEFINITION, ...change }, picoUsd(spent));
  if (assessed === null) throw new Error('a first definition is always applied');
  return assessed;
}

describe('definitions', () => {
  test('a new budget starts from what its subject already spent', () => {
    const { account, events } = opened(850_000n);
    expect(account).toMatchObject({ epoch: 1, settledPicoUsd: 850_000n, definitionRev: 1 });
    expect(events).toMatchObject([{ type: 'budget.threshold.v1', data: { threshold: 0.8 } }]);
  });

  test.each([0, 1])('a definition of revision %d after revision 1 changes nothing', (rev) => {
    const { account } = opened(0n);
    expect(applyDefinition(account, { ...DEFINITION, rev }, picoUsd(0n))).toBeNull();
  });

  test('spent, raised, spent and deleted: each step is announced under a growing revision', () => {
    const spent = opened(1_000_000n, { thresholds: [] });
    const raised = applyDefinition(
      spent.account,
      { ...DEFINITION, thresholds: [], limitPicoUsd: picoUsd(2_000_000n), rev: 2 },
      picoUsd(0n),
    )!;
    const lowered = applyDefinition(
      raised.account,
      { ...DEFINITION, thresholds: [], rev: 3 },
      picoUsd(0n),
    )!;
    const deleted = applyDefinition(
      lowered.account,
      { ...DEFINITION, thresholds: [], deleted: true, rev: 4 },
      picoUsd(0n),
    )!;
    const steps = [spent, raised, lowered, deleted].flatMap((each) => each.events);
    expect(steps.map((each) => each.type)).toEqual([
      'budget.exceeded.v1',
      'budget.reinstated.v1',
      'budget.exceeded.v1',
      'budget.reinstated.v1',
    ]);
    expect(steps.map((each) => ('budget_rev' in each.data ? each.data.budget_rev : 0))).toEqual([
      1, 2, 3, 4,
    ]);
    expect(deleted.account.settledPicoUsd).toBe(1_000_000n);
  });

  test('a limit of nothing permits nothing from the start and has no thresholds to reach', () => {
    const { account, events } = opened(0n, { limitPicoUsd: picoUsd(0n) });
    expect(account.blocked).toBe(true);
    expect(events.map((each) => each.type)).toEqual(['budget.exceeded.v1']);
  });

  test('assessing an assessed account says nothing', () => {
    const { account } = opened(999_999n);
    expect(assessAccount(account)).toEqual({ account, events: [] });
  });
});

describe('levels', () => {
  test.each([
    // limit, settled, exhausted: the tolerance is the lesser of $0.0001 and a thousandth.
    [1_000_000_000_000n, 999_900_000_000n, true],
    [1_000_000_000_000n, 999_899_999_999n, false],
    [1_000n, 999n, true],
    [1_000n, 998n, false],
    [999n, 998n, false],
    [999n, 999n, true],
    [0n, 0n, true],
    [10n, 11n, true],
  ])('limit %d with %d settled: exhausted is %s', (limit, settled, expected) => {
    expect(isExhausted(picoUsd(limit), picoUsd(settled))).toBe(expected);
  });

  test.each([
    [0.8, 10n, 8n, true],
    [0.8, 10n, 7n, false],
    [1, 10n, 10n, true],
    [0.1, 3_000_000_000_000_000_000n, 300_000_000_000_000_000n, true],
    [0.1, 3_000_000_000_000_000_000n, 299_999_999_999_999_999n, false],
    [1e-7, 10_000_000n, 1n, true],
    [0.5, 0n, 0n, false],
  ])('share %d of %d is reached at %d: %s', (share, limit, settled, expected) => {
    expect(hasReached(share, picoUsd(limit), picoUsd(settled))).toBe(expected);
  });
});

describe('the sequence of rated batches', () => {
  const applied = {
    nextOffset: 100n,
    prunedBelow: 40n,
    isApplied: (id: string): boolean => id === 'known',
  };
  test.each([
    ['known', 90n, 99n, 'duplicate'],
    ['forgotten', 30n, 39n, 'duplicate'],
    ['next', 100n, 120n, 'apply'],
    ['ahead', 101n, 120n, 'park'],
    ['other', 90n, 99n, 'overlap'],
    ['straddling', 90n, 120n, 'overlap'],
    ['straddling the pruned', 30n, 40n, 'overlap'],
  ] as const)('%s %d-%d: %s', (batchId, first, last, verdict) => {
    expect(placeInSequence({ batchId, first, last }, applied)).toBe(verdict);
  });
});
