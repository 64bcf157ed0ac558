import type { BudgetScope, HeldBudget } from '#libs/events';
import type { PicoUsd } from '#libs/kernel';

/** One account owner that governs a request. */
export interface BudgetSubject {
  readonly scope: BudgetScope;
  readonly subjectId: string;
}

/** A request for money before a byte goes upstream. */
export interface PlaceHoldInput {
  /** `<request id>.<attempt>`; placing the same id again answers as the first time. */
  readonly holdId: string;
  /** Every subject above the request: key, team, user, organisation. */
  readonly subjects: readonly BudgetSubject[];
  /**
   * Budgets that the caller knows to cover the request. One that the authority has not heard of yet
   * refuses the hold as `budget_reserved`: it is about to be, and nothing may slip past it meanwhile.
   */
  readonly expectedBudgetIds?: readonly string[];
  /** The upper bound of the cost, > 0. */
  readonly wantPicoUsd: PicoUsd;
  /** The least amount that still makes sense (output clamped to the minimum); 0 < least <= want. */
  readonly leastPicoUsd: PicoUsd;
}

/** Why a hold was refused. */
export type HoldRefusalReason =
  /** The budget is exhausted, or what is settled alone leaves too little for this request. */
  | 'budget_exceeded'
  /** Other holds stand in the way; the only refusal worth retrying. */
  | 'budget_reserved';

/** The answer to one request for money. */
export type PlaceHoldResult =
  | {
      readonly holdId: string;
      readonly outcome: 'held';
      /** Between least and want; taken from every budget alike. */
      readonly amountPicoUsd: PicoUsd;
      /** Budgets the hold was taken from, ascending by id; empty when none governs the subjects. */
      readonly budgets: readonly HeldBudget[];
    }
  | {
      readonly holdId: string;
      readonly outcome: 'refused';
      readonly reason: HoldRefusalReason;
      readonly exhausted: boolean;
      readonly budgetId: string;
      readonly scope: BudgetScope;
      readonly period: string;
      /** RFC 3339, UTC; null for a budget without a period end. */
      readonly resetsAt: string | null;
      /** 1,000 to 60,000 for `budget_reserved`; 0 for `budget_exceeded`, which no waiting cures. */
      readonly retryAfterMs: number;
    };

/** An open hold of an emitter. */
export interface OpenHold {
  readonly holdId: string;
  readonly amountPicoUsd: PicoUsd;
}

/** A budget definition as the control plane hands it over; the same members as `BudgetDefinitionV1`. */
export interface BudgetDefinitionInput {
  readonly budgetId: string;
  readonly scope: BudgetScope;
  readonly subjectId: string;
  readonly period: string;
  readonly limitPicoUsd: PicoUsd;
  readonly thresholds: readonly number[];
  readonly enabled: boolean;
  readonly deleted: boolean;
  /** Definition revision; an older one than stored changes nothing. */
  readonly rev: number;
}

/** Live figures of one budget. */
export interface BudgetFigures {
  readonly budgetId: string;
  readonly epoch: number;
  readonly limitPicoUsd: PicoUsd;
  readonly settledPicoUsd: PicoUsd;
  readonly heldPicoUsd: PicoUsd;
  readonly exhausted: boolean;
  /** Revision of the definition in force. */
  readonly definitionRev: number;
  /** Whether the subject is blocked, as announced last; grows with each announcement, 0 = none yet. */
  readonly blocked: boolean;
  readonly budgetRev: number;
  /** RFC 3339, UTC; null for period total. */
  readonly periodStart: string | null;
  readonly periodEnd: string | null;
}

/**
 * The budget authority as other services see it. Every call is idempotent and may be retried.
 * Invariant per account, in one row: settled + held + leased <= limit at each admission.
 * Leases (`lease.acquire`, `renew`, `return`) will join these calls; callers hold a `HoldSource`,
 * not this port, so that a hold may then come from a local lease.
 */
export abstract class BudgetAuthority {
  /**
   * Decides a batch of holds in one transaction, in the given order, each over all its levels or
   * none. Placing an open hold again answers as the first time; an id that was released or settled
   * is refused as `budget_reserved`. Refusals are not remembered. At most 10,000 holds a call.
   * @throws AppError `budget.invalid_hold` for amounts or ids out of bounds: nothing is decided
   * @throws AppError `budget.unavailable` (retryable) when the accounts cannot be locked in time
   */
  abstract placeHolds(
    emitterId: string,
    holds: readonly PlaceHoldInput[],
  ): Promise<readonly PlaceHoldResult[]>;
  /**
   * Gives back holds for which provably nothing was sent; ended ids and those of other emitters are
   * ignored. An unknown id is remembered as released, so that a placement of it that arrives late
   * takes no money.
   */
  abstract releaseHolds(emitterId: string, holdIds: readonly string[]): Promise<void>;
  /** The emitter's open holds, at most 10,000, ascending by id, after `afterHoldId`. */
  abstract listHolds(emitterId: string, afterHoldId: string | null): Promise<readonly OpenHold[]>;
  /**
   * Makes a definition act at once; the `control` topic is the durable path of the same fact.
   * @throws AppError `budget.unsupported_period` for a period other than `total`
   */
  abstract applyDefinition(definition: BudgetDefinitionInput): Promise<void>;
  /** Live figures of the named budgets; unknown ids are absent from the answer. */
  abstract figures(budgetIds: readonly string[]): Promise<readonly BudgetFigures[]>;
  /** Settled spend of subjects since their creation; subjects never charged answer 0. */
  abstract spendOf(
    subjects: readonly BudgetSubject[],
  ): Promise<readonly (BudgetSubject & { readonly settledPicoUsd: PicoUsd })[]>;
}

/** The calls of `BudgetAuthority`, as other processes reach them under the RPC service `budget`. */
export const BUDGET_AUTHORITY_METHODS = [
  'placeHolds',
  'releaseHolds',
  'listHolds',
  'applyDefinition',
  'figures',
  'spendOf',
] as const satisfies readonly (keyof BudgetAuthority)[];

/** The RPC service name of the budget authority. */
export const BUDGET_SERVICE = 'budget';
