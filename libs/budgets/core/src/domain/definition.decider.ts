import { ZERO_PICO_USD, type PicoUsd } from '#libs/kernel';

import type { BudgetDefinitionInput } from '../ports/budget-authority.port.js';
import type { AccountState } from './account.js';
import { assessAccount, type Assessment } from './assessment.decider.js';

/**
 * Brings a definition to its account: a first one opens epoch 1, starting from what the subject has
 * already spent; a newer one changes limit, thresholds and switches and leaves the figures.
 * @param account the current account of that budget; null when none exists
 * @param spentPicoUsd settled spend of the subject since its creation
 * @returns null when the definition is not newer than the one in force
 */
export function applyDefinition(
  account: AccountState | null,
  definition: BudgetDefinitionInput,
  spentPicoUsd: PicoUsd,
): Assessment | null {
  if (account !== null && definition.rev <= account.definitionRev) return null;
  const base = account ?? openAccount(definition, spentPicoUsd);
  return assessAccount({
    ...base,
    limitPicoUsd: definition.limitPicoUsd,
    thresholds: definition.thresholds,
    enabled: definition.enabled,
    deleted: definition.deleted,
    definitionRev: definition.rev,
  });
}

function openAccount(definition: BudgetDefinitionInput, spentPicoUsd: PicoUsd): AccountState {
  return {
    budgetId: definition.budgetId,
    epoch: 1,
    scope: definition.scope,
    subjectId: definition.subjectId,
    period: definition.period,
    limitPicoUsd: definition.limitPicoUsd,
    settledPicoUsd: spentPicoUsd,
    heldPicoUsd: ZERO_PICO_USD,
    leasedPicoUsd: ZERO_PICO_USD,
    thresholds: definition.thresholds,
    firedThresholds: [],
    enabled: definition.enabled,
    deleted: definition.deleted,
    isCurrent: true,
    blocked: false,
    budgetRev: 0,
    definitionRev: definition.rev,
  };
}
