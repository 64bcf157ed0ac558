import type { BudgetDefinitionV1, BudgetScope } from '#libs/events';
import type { PicoUsd } from '#libs/kernel';

import type { BudgetDefinitionInput } from '../ports/budget-authority.port.js';
import { hasReached } from './threshold.js';

/** Members of a budget row that its editors set. */
export interface BudgetRowSettings {
  /** >= 0; 0 permits nothing. */
  readonly limitPicoUsd: PicoUsd;
  /** IANA zone name. */
  readonly timezone: string;
  readonly weekStart: string;
  /** Each > 0 and <= 1, ascending; empty = none. */
  readonly thresholds: readonly number[];
  /** A disabled row is kept and counted, not enforced. */
  readonly enabled: boolean;
  readonly failPolicy: 'closed' | 'bounded_open';
}

/** Whose money a row limits, and over what time; unique among live rows. */
export interface BudgetRowTarget {
  readonly orgId: string;
  readonly scope: BudgetScope;
  /** Key id (dashed), team id, user id or organisation. */
  readonly scopeId: string;
  readonly period: BudgetDefinitionV1['period'];
}

/** A budget row as the control plane keeps it; running figures live elsewhere. */
export interface BudgetRow extends BudgetRowTarget, BudgetRowSettings {
  readonly budgetId: string;
  /** Grows by one with each change; 1 at creation. */
  readonly rev: number;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
  /** Milliseconds UTC; null = live. */
  readonly deletedAtMs: number | null;
}

/** Settings of a row when its editor states only the limit. */
export const BUDGET_ROW_DEFAULTS: Omit<BudgetRowSettings, 'limitPicoUsd'> = {
  timezone: 'UTC',
  weekStart: 'monday',
  thresholds: [0.8],
  enabled: true,
  failPolicy: 'closed',
};

/** One change of a row and the event that says so. */
export interface BudgetRowChange {
  readonly row: BudgetRow;
  readonly event: {
    readonly type: 'budget.defined.v1' | 'budget.deleted.v1';
    readonly data: BudgetDefinitionV1;
  };
}

/** A new row. */
export function defineBudget(
  budgetId: string,
  target: BudgetRowTarget,
  settings: BudgetRowSettings,
  nowMs: number,
): BudgetRowChange {
  const times = { createdAtMs: nowMs, updatedAtMs: nowMs, deletedAtMs: null };
  return changeTo({ budgetId, ...target, ...settings, rev: 1, ...times });
}

/** Replaces the given settings of a row; null when none differs. */
export function replaceBudget(
  row: BudgetRow,
  settings: Partial<BudgetRowSettings>,
  nowMs: number,
): BudgetRowChange | null {
  const after: BudgetRow = { ...row, ...settings };
  return isSame(row, after) ? null : changeTo({ ...after, rev: row.rev + 1, updatedAtMs: nowMs });
}

/** Deletes a row: it revokes nothing any more. */
export function deleteBudget(row: BudgetRow, nowMs: number): BudgetRowChange {
  return changeTo({ ...row, rev: row.rev + 1, updatedAtMs: nowMs, deletedAtMs: nowMs });
}

function isSame(before: BudgetRow, after: BudgetRow): boolean {
  return (
    before.limitPicoUsd === after.limitPicoUsd &&
    before.timezone === after.timezone &&
    before.weekStart === after.weekStart &&
    before.enabled === after.enabled &&
    before.failPolicy === after.failPolicy &&
    before.thresholds.join() === after.thresholds.join()
  );
}

function changeTo(row: BudgetRow): BudgetRowChange {
  const data: BudgetDefinitionV1 = {
    budget_id: row.budgetId,
    org_id: row.orgId,
    scope: row.scope,
    scope_id: row.scopeId,
    period: row.period,
    limit_pusd: row.limitPicoUsd.toString(),
    timezone: row.timezone,
    week_start: row.weekStart,
    thresholds: row.thresholds,
    enabled: row.enabled,
    fail_policy: row.failPolicy,
    deleted: row.deletedAtMs !== null,
    rev: row.rev,
  };
  return { row, event: { type: data.deleted ? 'budget.deleted.v1' : 'budget.defined.v1', data } };
}

/** The row in the form in which the budget authority takes definitions. */
export function definitionInputOf(row: BudgetRow): BudgetDefinitionInput {
  return {
    budgetId: row.budgetId,
    scope: row.scope,
    subjectId: row.scopeId,
    period: row.period,
    limitPicoUsd: row.limitPicoUsd,
    thresholds: row.thresholds,
    enabled: row.enabled,
    deleted: row.deletedAtMs !== null,
    rev: row.rev,
  };
}

/** What callers are told of a row. */
export type BudgetRowStatus = 'disabled' | 'exceeded' | 'warning' | 'ok';

/**
 * The status of a row with its settled spend.
 * @param exhausted by the one definition of exhaustion
 */
export function statusOfBudget(
  row: Pick<BudgetRow, 'enabled' | 'limitPicoUsd' | 'thresholds'>,
  settledPicoUsd: PicoUsd,
  exhausted: boolean,
): BudgetRowStatus {
  if (!row.enabled) return 'disabled';
  if (exhausted) return 'exceeded';
  const [lowest] = row.thresholds;
  return lowest !== undefined && hasReached(lowest, row.limitPicoUsd, settledPicoUsd)
    ? 'warning'
    : 'ok';
}
