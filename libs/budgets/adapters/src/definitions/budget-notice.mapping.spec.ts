import { expect, test } from '@jest/globals';

import { readBudgetNotice } from './budget-notice.mapping.js';

const BUDGET = '6f1d0a52-7c0f-4f0e-9a53-111111111111';
const bytes = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const STATE = {
  budget_id: BUDGET,
  scope: 'team',
  subject_id: 'crew',
  epoch: 1,
  budget_rev: 2,
  exhausted: true,
  period: 'total',
  resets_at: null,
};

test('state events and key events say the same thing in the same form', () => {
  expect(readBudgetNotice('budget.exceeded.v1', bytes({ ...STATE, more: 1 }))).toEqual({
    kind: 'notice',
    notice: STATE,
  });
  const key = { budget_id: BUDGET, key_id: 'k', epoch: 1, budget_rev: 2, period: 'total' };
  expect(readBudgetNotice('key.reinstated.v1', bytes(key))).toMatchObject({
    kind: 'notice',
    notice: { scope: 'key', subject_id: 'k', exhausted: false, resets_at: null },
  });
});

test('other events are passed over, newer majors are not', () => {
  expect(readBudgetNotice('key.created.v1', bytes({})).kind).toBe('other');
  expect(readBudgetNotice('', bytes({})).kind).toBe('other');
  expect(readBudgetNotice('key.created.v9', bytes({})).kind).toBe('other');
  expect(readBudgetNotice('budget.exceeded.v2', bytes(STATE))).toEqual({
    kind: 'newer',
    type: 'budget.exceeded.v2',
  });
});

test('what is not what its type says is poison, never an exception', () => {
  for (const value of [
    null,
    7,
    [],
    {},
    {
      ...STATE,
      budget_id: 'x',
    },
    {
      ...STATE,
      epoch: '1',
    },
    {
      ...STATE,
      budget_rev: 1.5,
    },
    {
      ...STATE,
      exhausted: 'yes',
    },
    {
      ...STATE,
      period: 1,
    },
    {
      ...STATE,
      subject_id: 'a\0b',
    },
  ]) {
    expect(readBudgetNotice('budget.exceeded.v1', bytes(value)).kind).toBe('poison');
  }
  expect(readBudgetNotice('budget.exceeded.v1', Buffer.from('{')).kind).toBe('poison');
});
