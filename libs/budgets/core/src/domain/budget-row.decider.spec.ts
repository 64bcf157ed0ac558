import { describe, expect, test } from '@jest/globals';

import { picoUsd } from '#libs/kernel';

import {
  BUDGET_ROW_DEFAULTS,
  defineBudget,
  definitionInputOf,
  deleteBudget,
  replaceBudget,
  statusOfBudget,
} from './budget-row.decider.js';

const TARGET = { orgId: 'default', scope: 'key', scopeId: 'k', period: 'total' } as const;
const SETTINGS = { ...BUDGET_ROW_DEFAULTS, limitPicoUsd: picoUsd(1_000n) };
const { row, event } = defineBudget('b', TARGET, SETTINGS, 5);

describe('budget rows', () => {
  test('a new row is revision 1 and its event carries all of it', () => {
    expect(event).toMatchObject({
      type: 'budget.defined.v1',
      data: { budget_id: 'b', scope_id: 'k', limit_pusd: '1000', rev: 1, deleted: false },
    });
    expect(definitionInputOf(row)).toMatchObject({ subjectId: 'k', limitPicoUsd: 1_000n, rev: 1 });
  });

  test('a replacement without difference is none; any difference is the next revision', () => {
    expect(replaceBudget(row, SETTINGS, 6)).toBeNull();
    for (const change of [
      { limitPicoUsd: picoUsd(2n) },
      { thresholds: [] },
      { enabled: false },
      { timezone: 'Europe/Berlin' },
      { weekStart: 'sunday' },
      { failPolicy: 'bounded_open' as const },
    ]) {
      expect(replaceBudget(row, change, 6)?.row).toEqual({
        ...row,
        ...change,
        rev: 2,
        updatedAtMs: 6,
      });
    }
  });

  test('a deletion is an event of its own with the next revision', () => {
    const deleted = deleteBudget(row, 7);
    expect(deleted.event).toMatchObject({
      type: 'budget.deleted.v1',
      data: { deleted: true, rev: 2 },
    });
    expect(definitionInputOf(deleted.row).deleted).toBe(true);
  });

  test('status is disabled, exceeded, warning at the lowest threshold exactly, else ok', () => {
    expect(statusOfBudget({ ...row, enabled: false }, picoUsd(1_000n), true)).toBe('disabled');
    expect(statusOfBudget(row, picoUsd(1_000n), true)).toBe('exceeded');
    expect(statusOfBudget(row, picoUsd(800n), false)).toBe('warning');
    expect(statusOfBudget(row, picoUsd(799n), false)).toBe('ok');
    expect(statusOfBudget({ ...row, thresholds: [] }, picoUsd(999n), false)).toBe('ok');
  });
});
