import type { BudgetScope, UsageRatedV1 } from '#libs/events';
import { assert, parsePicoUsd, picoUsd, ZERO_PICO_USD, type PicoUsd } from '#libs/kernel';

import { accountKey, subjectKey, type AccountState } from './account.js';
import { assessAccount } from './assessment.decider.js';
import type { BudgetEvent } from './budget-event.js';
import type { KnownHold } from './hold.decider.js';

/** What a settlement needs to know before it decides. */
export interface SettlementState {
  /** Every account of every subject of the batch, and every account its holds were taken from. */
  readonly accounts: readonly AccountState[];
  /** Holds of the batch that the store knows, in any state. */
  readonly holds: readonly KnownHold[];
}

/** A charge that its hold did not cover. */
export interface Overrun {
  readonly holdId: string;
  readonly heldPicoUsd: PicoUsd;
  readonly chargePicoUsd: PicoUsd;
  /** The charge was above the hold, or no open hold of that id existed any more. */
  readonly cause: 'charge_above_hold' | 'hold_not_open';
}

/** Money a subject was charged in a batch. */
export interface SubjectCharge {
  readonly scope: BudgetScope;
  readonly subjectId: string;
  readonly chargePicoUsd: PicoUsd;
}

/** What a settled batch changes. */
export interface SettlementChanges {
  /** Accounts whose figures or announcements changed, as they are now. */
  readonly accounts: readonly AccountState[];
  /** Holds that ended, each once. */
  readonly settledHolds: readonly { readonly holdId: string; readonly chargePicoUsd: PicoUsd }[];
  /** One per subject of the batch, each once. */
  readonly subjects: readonly SubjectCharge[];
  readonly overruns: readonly Overrun[];
  readonly events: readonly BudgetEvent[];
}

/**
 * Settles one rated batch. A hold that ends gives its amount back to the accounts it was taken from
 * and leaves its charge there; what a subject was charged beyond that lands on the current epoch of
 * each of its accounts, also disabled and deleted ones. So every charge lands exactly once on every
 * account of its subject, whichever accounts the hold knew of. An account whose hold ended keeps that
 * charge also when the batch charges its subject less or not at all (the record of the attempt was
 * damaged and no longer says whose team it was): what was held is never lost.
 * @throws AppError `internal.assertion` when more would be given back than is held
 */
export function settleBatch(state: SettlementState, rated: UsageRatedV1): SettlementChanges {
  const accounts = new Map(state.accounts.map((account) => [accountKey(account), account]));
  const subjects = sumSubjects(rated);
  const ended = endHolds(accounts, state.holds, rated);
  const touched = new Set(ended.heldCharges.keys());
  for (const [key, account] of accounts) {
    const unheld = unheldCharge(account, subjects, ended.chargesByBudget);
    if (unheld === 0n) continue;
    touched.add(key);
    accounts.set(key, settle(account, unheld));
  }
  const assessed = [...touched].map((key) => assessAccount(accounts.get(key)!));
  return {
    accounts: assessed.map((each) => each.account),
    settledHolds: ended.settledHolds,
    subjects: [...subjects.values()],
    overruns: ended.overruns,
    events: assessed.flatMap((each) => each.events),
  };
}

function sumSubjects(rated: UsageRatedV1): Map<string, SubjectCharge> {
  const sums = new Map<string, SubjectCharge>();
  for (const { scope, subject_id: subjectId, charge_pusd: charge } of rated.subjects) {
    const key = subjectKey(scope, subjectId);
    const former = sums.get(key)?.chargePicoUsd ?? ZERO_PICO_USD;
    sums.set(key, { scope, subjectId, chargePicoUsd: picoUsd(former + parsePicoUsd(charge)) });
  }
  return sums;
}

/** The ends of a batch's holds, and what they left on which account. */
interface EndedHolds {
  readonly settledHolds: readonly { readonly holdId: string; readonly chargePicoUsd: PicoUsd }[];
  readonly overruns: readonly Overrun[];
  /** By account. */
  readonly heldCharges: ReadonlyMap<string, bigint>;
  /** By budget, over its epochs. */
  readonly chargesByBudget: ReadonlyMap<string, bigint>;
}

function endHolds(
  accounts: Map<string, AccountState>,
  known: readonly KnownHold[],
  rated: UsageRatedV1,
): EndedHolds {
  const open = new Map(known.filter((hold) => hold.state === 'open').map((h) => [h.holdId, h]));
  const settledHolds: { holdId: string; chargePicoUsd: PicoUsd }[] = [];
  const overruns: Overrun[] = [];
  const heldCharges = new Map<string, bigint>();
  const chargesByBudget = new Map<string, bigint>();
  for (const { hold_id: holdId, charge_pusd: text } of rated.holds) {
    const chargePicoUsd = parsePicoUsd(text);
    const hold = open.get(holdId);
    const overrun = overrunOf(holdId, hold, chargePicoUsd);
    if (overrun !== null) overruns.push(overrun);
    if (hold === undefined) continue;
    open.delete(holdId);
    settledHolds.push({ holdId, chargePicoUsd });
    for (const { budget_id: budgetId, epoch } of hold.budgets) {
      const key = accountKey({ budgetId, epoch });
      const account = accounts.get(key);
      assert(account !== undefined, `hold ${holdId} names account ${key}, which is not known`);
      accounts.set(key, settle(giveBack(account, hold.amountPicoUsd), chargePicoUsd));
      heldCharges.set(key, (heldCharges.get(key) ?? 0n) + chargePicoUsd);
      chargesByBudget.set(budgetId, (chargesByBudget.get(budgetId) ?? 0n) + chargePicoUsd);
    }
  }
  return { settledHolds, overruns, heldCharges, chargesByBudget };
}

function overrunOf(
  holdId: string,
  hold: KnownHold | undefined,
  chargePicoUsd: PicoUsd,
): Overrun | null {
  const heldPicoUsd = hold?.amountPicoUsd ?? ZERO_PICO_USD;
  if (chargePicoUsd <= heldPicoUsd) return null;
  const cause = hold === undefined ? 'hold_not_open' : 'charge_above_hold';
  return { holdId, heldPicoUsd, chargePicoUsd, cause };
}

function giveBack(account: AccountState, amountPicoUsd: PicoUsd): AccountState {
  assert(
    account.heldPicoUsd >= amountPicoUsd,
    `account ${accountKey(account)} holds less than one of its holds`,
  );
  return { ...account, heldPicoUsd: picoUsd(account.heldPicoUsd - amountPicoUsd) };
}

function settle(account: AccountState, chargePicoUsd: bigint): AccountState {
  return { ...account, settledPicoUsd: picoUsd(account.settledPicoUsd + chargePicoUsd) };
}

function unheldCharge(
  account: AccountState,
  subjects: ReadonlyMap<string, SubjectCharge>,
  chargesByBudget: ReadonlyMap<string, bigint>,
): bigint {
  if (!account.isCurrent) return 0n;
  const total = subjects.get(subjectKey(account.scope, account.subjectId))?.chargePicoUsd ?? 0n;
  const unheld = total - (chargesByBudget.get(account.budgetId) ?? 0n);
  return unheld < 0n ? 0n : unheld;
}
