import type { HeldBudget } from '#libs/events';
import { minPicoUsd, picoUsd, type PicoUsd } from '#libs/kernel';

import type {
  HoldRefusalReason,
  PlaceHoldInput,
  PlaceHoldResult,
} from '../ports/budget-authority.port.js';
import {
  accountKey,
  availablePicoUsd,
  compareAccounts,
  isEnforced,
  subjectKey,
  type AccountState,
} from './account.js';
import { isExhausted } from './exhaustion.js';

/** When a caller refused by other holds should ask again: a typical call's length, milliseconds. */
const RETRY_AFTER_MS = 1_000;

/** A hold that was placed before, in whatever state it is now. */
export interface KnownHold {
  readonly holdId: string;
  readonly emitterId: string;
  readonly amountPicoUsd: PicoUsd;
  readonly budgets: readonly HeldBudget[];
  readonly state: 'open' | 'settled' | 'released';
}

/** A hold to be stored. */
export interface NewHold {
  readonly holdId: string;
  readonly amountPicoUsd: PicoUsd;
  /** Never empty, ascending by budget id. */
  readonly budgets: readonly HeldBudget[];
}

/** What one batch of requests came to. */
export interface HoldDecision {
  /** One per request, in the given order. */
  readonly results: readonly PlaceHoldResult[];
  readonly newHolds: readonly NewHold[];
  /** Accounts whose held amount grew, as they are now. */
  readonly accounts: readonly AccountState[];
}

/**
 * Decides requests for money in the given order, each over all its levels or none: the amount is the
 * lesser of what is wanted and what the tightest account has left, and at least `least`.
 * An account that is exhausted, or whose settled spend alone leaves less than `least`, refuses as
 * `budget_exceeded`; one where only holds stand in the way refuses as `budget_reserved`. The account
 * named is the first such in the order key, team, user, organisation.
 * An id placed twice within the batch answers twice the same.
 * @param accounts every account of every subject named; those not enforced have no say
 */
export function decideHolds(
  accounts: readonly AccountState[],
  requests: readonly PlaceHoldInput[],
): HoldDecision {
  const book = new AccountBook(accounts);
  const answers = new Map<string, PlaceHoldResult>();
  const newHolds: NewHold[] = [];
  const results = requests.map((request) => {
    const former = answers.get(request.holdId);
    if (former !== undefined) return former;
    const { result, hold } = decideOne(book, request);
    answers.set(request.holdId, result);
    if (hold !== null) newHolds.push(hold);
    return result;
  });
  return { results, newHolds, accounts: book.changed() };
}

/**
 * Answers a request whose id was placed before: an open hold of the same emitter as the first time,
 * with the same amount; an ended or foreign one with `budget_reserved`, because no money stands
 * behind that id any more and a new attempt has a new id.
 */
export function answerKnownHold(
  known: KnownHold,
  emitterId: string,
  request: PlaceHoldInput,
  accounts: readonly AccountState[],
): PlaceHoldResult {
  const { holdId } = request;
  const first = new AccountBook(accounts).governing(request)[0];
  if (known.state === 'open' && known.emitterId === emitterId) {
    return { holdId, outcome: 'held', amountPicoUsd: known.amountPicoUsd, budgets: known.budgets };
  }
  return first === undefined
    ? { holdId, outcome: 'held', amountPicoUsd: request.wantPicoUsd, budgets: [] }
    : refusal(request, first, 'budget_reserved');
}

/** The accounts of a batch, changed as it is decided. */
class AccountBook {
  private readonly bySubject = new Map<string, AccountState[]>();
  private readonly changes = new Map<string, AccountState>();
  private readonly ids: ReadonlySet<string>;

  /** @param accounts of the subjects, the disabled and deleted ones too */
  constructor(accounts: readonly AccountState[]) {
    this.ids = new Set(accounts.map(({ budgetId }) => budgetId));
    for (const account of accounts.filter(isEnforced)) {
      const key = subjectKey(account.scope, account.subjectId);
      const list = this.bySubject.get(key);
      if (list === undefined) this.bySubject.set(key, [account]);
      else list.push(account);
    }
  }

  /** Whether a budget was ever defined here, whatever became of it. */
  knows(budgetId: string): boolean {
    return this.ids.has(budgetId);
  }

  /** Accounts above a request as they are now, in the order of refusals, each once. */
  governing(request: PlaceHoldInput): readonly AccountState[] {
    const found = new Map<string, AccountState>();
    for (const { scope, subjectId } of request.subjects) {
      for (const account of this.bySubject.get(subjectKey(scope, subjectId)) ?? []) {
        const key = accountKey(account);
        found.set(key, this.changes.get(key) ?? account);
      }
    }
    return [...found.values()].toSorted(compareAccounts);
  }

  hold(account: AccountState, amountPicoUsd: PicoUsd): void {
    this.changes.set(accountKey(account), {
      ...account,
      heldPicoUsd: picoUsd(account.heldPicoUsd + amountPicoUsd),
    });
  }

  changed(): readonly AccountState[] {
    return [...this.changes.values()];
  }
}

function decideOne(
  book: AccountBook,
  request: PlaceHoldInput,
): { readonly result: PlaceHoldResult; readonly hold: NewHold | null } {
  const { holdId, wantPicoUsd, leastPicoUsd } = request;
  const unheardOf = request.expectedBudgetIds?.find((budgetId) => !book.knows(budgetId));
  if (unheardOf !== undefined) return { result: notYet(request, unheardOf), hold: null };
  const accounts = book.governing(request);
  const exceeded = accounts.find((account) => isSpentFor(account, leastPicoUsd));
  if (exceeded !== undefined) {
    return { result: refusal(request, exceeded, 'budget_exceeded'), hold: null };
  }
  const reserved = accounts.find((account) => availablePicoUsd(account) < leastPicoUsd);
  if (reserved !== undefined) {
    return { result: refusal(request, reserved, 'budget_reserved'), hold: null };
  }
  const amountPicoUsd = accounts
    .map(availablePicoUsd)
    .reduce((least, available) => minPicoUsd(least, available), wantPicoUsd);
  for (const account of accounts) book.hold(account, amountPicoUsd);
  const budgets = heldBudgets(accounts);
  return {
    result: { holdId, outcome: 'held', amountPicoUsd, budgets },
    hold: budgets.length === 0 ? null : { holdId, amountPicoUsd, budgets },
  };
}

function isSpentFor(account: AccountState, leastPicoUsd: PicoUsd): boolean {
  return (
    isExhausted(account.limitPicoUsd, account.settledPicoUsd) ||
    account.limitPicoUsd - account.settledPicoUsd < leastPicoUsd
  );
}

function heldBudgets(accounts: readonly AccountState[]): readonly HeldBudget[] {
  return accounts
    .map(({ budgetId, epoch }) => ({ budget_id: budgetId, epoch }))
    .toSorted((a, b) => (a.budget_id < b.budget_id ? -1 : 1));
}

/** The answer while a budget's definition is on its way. */
function notYet(request: PlaceHoldInput, budgetId: string): PlaceHoldResult {
  return {
    holdId: request.holdId,
    outcome: 'refused',
    reason: 'budget_reserved',
    exhausted: false,
    budgetId,
    scope: request.subjects[0]?.scope ?? 'key',
    period: 'total',
    resetsAt: null,
    retryAfterMs: RETRY_AFTER_MS,
  };
}

function refusal(
  request: PlaceHoldInput,
  account: AccountState,
  reason: HoldRefusalReason,
): PlaceHoldResult {
  return {
    holdId: request.holdId,
    outcome: 'refused',
    reason,
    exhausted: isExhausted(account.limitPicoUsd, account.settledPicoUsd),
    budgetId: account.budgetId,
    scope: account.scope,
    period: account.period,
    resetsAt: null,
    retryAfterMs: reason === 'budget_reserved' ? RETRY_AFTER_MS : 0,
  };
}
