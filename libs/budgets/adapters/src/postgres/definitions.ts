import {
  applyDefinition,
  subjectKey,
  type AccountState,
  type BudgetDefinitionInput,
  type BudgetEvent,
} from '#libs/budgets/core';
import { AppError, isColumnText, parseUuid, ZERO_PICO_USD } from '#libs/kernel';
import type { Transaction } from '#libs/platform/postgres';

import { lockAccounts } from './account.query.js';
import { saveAssessed } from './announcement.query.js';
import type { BudgetOutbox } from './budget-outbox.js';
import { lockSpend } from './subject-spend.query.js';

/** Longest subject id, characters; the column's own bound. */
const MAX_SUBJECT_CHARS = 255;
/** Largest limit, pUSD ($1e18); the control plane allows far less, the column far more. */
const MAX_LIMIT_PICO_USD = 10n ** 30n;
/** Most thresholds of a budget. */
const MAX_THRESHOLDS = 10;

/**
 * Checks what no account could keep.
 * @throws AppError `budget.unsupported_period` for a period other than `total`
 * @throws AppError `budget.invalid_definition` for an id, limit, threshold or revision out of bounds
 */
export function validateDefinition(definition: BudgetDefinitionInput): void {
  const { budgetId, subjectId, period, limitPicoUsd, thresholds, rev } = definition;
  if (period !== 'total') {
    throw new AppError({
      code: 'budget.unsupported_period',
      kind: 'invalid',
      publicMessage: 'only budgets of period total are enforced',
      details: { field: 'period' },
    });
  }
  const faults = [
    parseUuid(budgetId) !== budgetId && 'budgetId',
    !isColumnText(subjectId, MAX_SUBJECT_CHARS) && 'subjectId',
    (limitPicoUsd < 0n || limitPicoUsd > MAX_LIMIT_PICO_USD) && 'limitPicoUsd',
    (thresholds.length > MAX_THRESHOLDS || !thresholds.every(isShare)) && 'thresholds',
    !(Number.isInteger(rev) && rev >= 0 && rev < 2 ** 31) && 'rev',
  ].filter((fault) => fault !== false);
  if (faults.length === 0) return;
  throw new AppError({
    code: 'budget.invalid_definition',
    kind: 'invalid',
    publicMessage: 'the budget definition is malformed',
    internalMessage: `budget definition with faulty ${faults.join(', ')}`,
    details: { fields: faults },
  });
}

function isShare(threshold: number): boolean {
  return threshold > 0 && threshold <= 1;
}

/**
 * Brings definitions to their accounts, in the given order, inside a transaction that holds no
 * account yet. Subjects are locked first, so that a settlement running at the same time is either
 * seen whole in the starting figure or sees the new account.
 * @param definitions validated, at most a few hundred
 */
export async function applyDefinitions(
  tx: Transaction,
  outbox: BudgetOutbox,
  definitions: readonly BudgetDefinitionInput[],
): Promise<void> {
  if (definitions.length === 0) return;
  const spent = await lockSpend(tx, definitions);
  const locked = await lockAccounts(tx, { budgetIds: definitions.map((each) => each.budgetId) });
  const accounts = new Map(locked.map((account) => [account.budgetId, account]));
  const changed = new Map<string, AccountState>();
  const events: BudgetEvent[] = [];
  for (const definition of definitions) {
    const assessed = applyDefinition(
      accounts.get(definition.budgetId) ?? null,
      definition,
      spent.get(subjectKey(definition.scope, definition.subjectId)) ?? ZERO_PICO_USD,
    );
    if (assessed === null) continue;
    accounts.set(definition.budgetId, assessed.account);
    changed.set(definition.budgetId, assessed.account);
    events.push(...assessed.events);
  }
  await saveAssessed(tx, outbox, [...changed.values()], events);
}
