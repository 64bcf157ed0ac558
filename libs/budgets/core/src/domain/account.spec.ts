import { expect, test } from '@jest/globals';
import fc from 'fast-check';

import type { BudgetScope } from '#libs/events';

import { compareAccounts, type AccountState } from './account.js';

const account = fc
  .record({
    scope: fc.constantFrom<BudgetScope>('key', 'team', 'user', 'organisation'),
    budgetId: fc.constantFrom('a', 'b', 'c'),
    epoch: fc.integer({ min: 1, max: 3 }),
  })
  .map((parts) => parts as AccountState);

test('accounts are ordered by key, team, user, organisation, then budget, then epoch', () => {
  const sorted = (
    [
      ['organisation', 'a', 1],
      ['user', 'a', 1],
      ['team', 'a', 1],
      ['key', 'b', 2],
      ['key', 'b', 1],
      ['key', 'a', 9],
    ] as const
  )
    .map(([scope, budgetId, epoch]) => ({ scope, budgetId, epoch }) as AccountState)
    .toSorted(compareAccounts);
  expect(sorted.map(({ scope, budgetId, epoch }) => `${scope} ${budgetId} ${epoch}`)).toEqual([
    'key a 9',
    'key b 1',
    'key b 2',
    'team a 1',
    'user a 1',
    'organisation a 1',
  ]);
});

test('the order does not depend on who asks', () => {
  fc.assert(
    fc.property(account, account, (a, b) => {
      expect(Math.sign(compareAccounts(a, b)) + Math.sign(compareAccounts(b, a))).toBe(0);
    }),
  );
});
