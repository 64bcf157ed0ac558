import { BUDGET_ROW_DEFAULTS, type BudgetRowSettings } from '#libs/budgets/core';
import { formatUsd, maxPicoUsd, parseUsd, picoUsd, toRfc3339, ZERO_PICO_USD } from '#libs/kernel';

import type { BudgetView } from '../use-cases/edit-budget.use-case.js';
import type { PutBudgetRequestDto } from './budgets.dto.js';

/** The settings a body asks for, with defaults for what it leaves out. */
export function fromBudgetBody(
  body: Omit<PutBudgetRequestDto, 'scope' | 'scope_id' | 'period'>,
): BudgetRowSettings {
  return {
    limitPicoUsd: parseUsd(body.limit_usd),
    timezone: body.timezone ?? BUDGET_ROW_DEFAULTS.timezone,
    weekStart: body.week_start ?? BUDGET_ROW_DEFAULTS.weekStart,
    thresholds: body.thresholds ?? BUDGET_ROW_DEFAULTS.thresholds,
    enabled: body.enabled ?? BUDGET_ROW_DEFAULTS.enabled,
    failPolicy: body.fail_policy ?? BUDGET_ROW_DEFAULTS.failPolicy,
  };
}

/** A row as `/api/budgets` shows it: amounts are decimal strings. */
export function toBudgetResponse({ row, ...live }: BudgetView): object {
  const left = picoUsd(row.limitPicoUsd - live.settledPicoUsd);
  return {
    id: row.budgetId,
    scope: row.scope,
    scope_id: row.scopeId,
    period: row.period,
    limit_usd: formatUsd(row.limitPicoUsd),
    timezone: row.timezone,
    week_start: row.weekStart,
    thresholds: row.thresholds,
    enabled: row.enabled,
    fail_policy: row.failPolicy,
    spent_usd: formatUsd(live.settledPicoUsd),
    held_usd: formatUsd(live.heldPicoUsd),
    remaining_usd: formatUsd(maxPicoUsd(ZERO_PICO_USD, left)),
    period_start: live.periodStart,
    period_end: live.periodEnd,
    status: live.status,
    created_at: toRfc3339(row.createdAtMs),
    updated_at: toRfc3339(row.updatedAtMs),
  };
}
