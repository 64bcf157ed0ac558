import type { BudgetScope } from '#libs/events';
import { picoUsd, type PicoUsd } from '#libs/kernel';

/**
 * The running state of one budget in one epoch. Invariant at each admission:
 * settled + held + leased <= limit. Only a lowered limit or an overrun may leave it above, and then
 * nothing more is admitted.
 */
export interface AccountState {
  readonly budgetId: string;
  /** From 1; grows by one at each period boundary. */
  readonly epoch: number;
  readonly scope: BudgetScope;
  readonly subjectId: string;
  readonly period: string;
  readonly limitPicoUsd: PicoUsd;
  readonly settledPicoUsd: PicoUsd;
  readonly heldPicoUsd: PicoUsd;
  readonly leasedPicoUsd: PicoUsd;
  /** Shares of the limit, > 0 and <= 1. */
  readonly thresholds: readonly number[];
  /** Thresholds of this epoch that were announced, in the order in which they were. */
  readonly firedThresholds: readonly number[];
  readonly enabled: boolean;
  readonly deleted: boolean;
  /** False for an epoch that is over: it only settles what it still holds. */
  readonly isCurrent: boolean;
  /** Whether the subject was told that this budget is spent. */
  readonly blocked: boolean;
  /** Grows by one with each change of `blocked`. */
  readonly budgetRev: number;
  /** Revision of the definition in force. */
  readonly definitionRev: number;
}

/** Names an account. */
export type AccountId = Pick<AccountState, 'budgetId' | 'epoch'>;

/** Identity of an account among all accounts. */
export function accountKey(account: AccountId): string {
  return `${account.budgetId}/${account.epoch}`;
}

/** Identity of a subject among all subjects; scopes contain no slash. */
export function subjectKey(scope: BudgetScope, subjectId: string): string {
  return `${scope}/${subjectId}`;
}

/** Whether the account has a say in admission: enabled, not deleted, in its current epoch. */
export function isEnforced(account: AccountState): boolean {
  return account.enabled && !account.deleted && account.isCurrent;
}

/** What may still be held, pUSD; negative after a lowered limit or an overrun. */
export function availablePicoUsd(account: AccountState): PicoUsd {
  return picoUsd(
    account.limitPicoUsd - account.settledPicoUsd - account.heldPicoUsd - account.leasedPicoUsd,
  );
}

/** Order in which the accounts above a request are named in a refusal. */
const SCOPE_ORDER: Readonly<Record<BudgetScope, number>> = {
  key: 0,
  team: 1,
  user: 2,
  organisation: 3,
};

/** Compares accounts: key, team, user, organisation; then by budget id and epoch. */
export function compareAccounts(a: AccountState, b: AccountState): number {
  if (a.scope !== b.scope) return SCOPE_ORDER[a.scope] - SCOPE_ORDER[b.scope];
  if (a.budgetId !== b.budgetId) return a.budgetId < b.budgetId ? -1 : 1;
  return a.epoch - b.epoch;
}
