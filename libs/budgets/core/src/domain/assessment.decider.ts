import type { BudgetStateV1, KeyRevocationV1 } from '#libs/events';

import { isEnforced, type AccountState } from './account.js';
import type { BudgetEvent } from './budget-event.js';
import { isExhausted } from './exhaustion.js';
import { hasReached } from './threshold.js';

/** An account after a look at its level, and what has to be said about it. */
export interface Assessment {
  readonly account: AccountState;
  /** Empty when the account is as announced; then `account` is the one that was given. */
  readonly events: readonly BudgetEvent[];
}

/** Whether an account's subject must be blocked: it is enforced and exhausted. Level, not edge. */
export function shouldBlock(account: AccountState): boolean {
  return isEnforced(account) && isExhausted(account.limitPicoUsd, account.settledPicoUsd);
}

/**
 * Compares an account with what was announced about it: thresholds reached and not yet fired, a
 * block that is missing, a block whose reason is gone. Assessing the result again says nothing.
 */
export function assessAccount(account: AccountState): Assessment {
  const thresholds = newThresholds(account);
  const block = shouldBlock(account);
  if (thresholds.length === 0 && block === account.blocked) return { account, events: [] };
  const next: AccountState = {
    ...account,
    firedThresholds: [...account.firedThresholds, ...thresholds],
    blocked: block,
    budgetRev: account.budgetRev + (block === account.blocked ? 0 : 1),
  };
  return {
    account: next,
    events: [
      ...thresholds.map((threshold) => thresholdEvent(next, threshold)),
      ...(block === account.blocked ? [] : stateEvents(next)),
    ],
  };
}

function newThresholds(account: AccountState): readonly number[] {
  if (!isEnforced(account)) return [];
  return account.thresholds.filter(
    (share) =>
      !account.firedThresholds.includes(share) &&
      hasReached(share, account.limitPicoUsd, account.settledPicoUsd),
  );
}

function thresholdEvent(account: AccountState, threshold: number): BudgetEvent {
  return {
    type: 'budget.threshold.v1',
    data: {
      budget_id: account.budgetId,
      scope: account.scope,
      subject_id: account.subjectId,
      epoch: account.epoch,
      threshold,
      limit_pusd: String(account.limitPicoUsd),
      settled_pusd: String(account.settledPicoUsd),
    },
  };
}

function stateEvents(account: AccountState): readonly BudgetEvent[] {
  const state: BudgetEvent = {
    type: account.blocked ? 'budget.exceeded.v1' : 'budget.reinstated.v1',
    data: budgetState(account),
  };
  if (account.scope !== 'key') return [state];
  return [
    state,
    { type: account.blocked ? 'key.revoked.v1' : 'key.reinstated.v1', data: revocation(account) },
  ];
}

function budgetState(account: AccountState): BudgetStateV1 {
  return {
    budget_id: account.budgetId,
    scope: account.scope,
    subject_id: account.subjectId,
    epoch: account.epoch,
    budget_rev: account.budgetRev,
    exhausted: account.blocked,
    period: account.period,
    resets_at: null,
    limit_pusd: String(account.limitPicoUsd),
    settled_pusd: String(account.settledPicoUsd),
  };
}

function revocation(account: AccountState): KeyRevocationV1 {
  return {
    key_id: account.subjectId,
    budget_id: account.budgetId,
    epoch: account.epoch,
    budget_rev: account.budgetRev,
    reason: 'budget',
    period: account.period,
    resets_at: null,
  };
}
