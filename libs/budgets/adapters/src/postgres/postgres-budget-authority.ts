import {
  BudgetAuthority,
  isExhausted,
  subjectKey,
  type BudgetDefinitionInput,
  type BudgetFigures,
  type BudgetSubject,
  type OpenHold,
  type PlaceHoldInput,
  type PlaceHoldResult,
} from '#libs/budgets/core';
import { AppError, messageOf, parseUuid, ZERO_PICO_USD } from '#libs/kernel';
import { sqlState, type Database, type Transaction } from '#libs/platform/postgres';

import { readAccounts } from './account.query.js';
import type { BudgetOutbox } from './budget-outbox.js';
import { applyDefinitions, validateDefinition } from './definitions.js';
import { HoldBatcher, unavailable, type HoldCall } from './hold-batcher.js';
import { readOpenHolds, rememberReleased } from './hold.query.js';
import { placeHoldsIn, validateHolds } from './place-holds.js';
import { releaseHoldsIn } from './release-holds.js';
import { readSpend, type SubjectSpend } from './subject-spend.query.js';

/** Longest wait for an account in one try. */
const LOCK_TIMEOUT = `SET LOCAL lock_timeout = '500ms'`;
/** Transactions tried when another one was first; each try sees what it left. */
const MAX_TRIES = 3;
/**
 * Deadlock, serialization failure, an id that another transaction has just stored, and an account that
 * another transaction keeps, as one does while the disk is slow.
 */
const WORTH_ANOTHER_TRY: ReadonlySet<string> = new Set(['40P01', '40001', '23505', '55P03']);
/** Ids per statement of a release or a read. */
const MAX_IDS_PER_STATEMENT = 1_000;
const OPEN_HOLDS_PAGE = 10_000;

/** Counts what the authority answers. */
export interface AuthorityObserver {
  /** One per refused hold. */
  denied(reason: string): void;
}

/** What the authority is built from. */
export interface PostgresBudgetAuthorityOptions {
  /** Pool with the role and the search path of schema `budget`. */
  readonly database: Database;
  readonly outbox: BudgetOutbox;
  readonly observer?: AuthorityObserver;
}

/**
 * The budget authority on PostgreSQL. Locks are taken in one order everywhere (subjects, accounts,
 * holds), so callers in any number of processes wait for each other but never in a circle.
 */
export class PostgresBudgetAuthority extends BudgetAuthority {
  private readonly database: Database;
  private readonly batcher: HoldBatcher;

  constructor(private readonly options: PostgresBudgetAuthorityOptions) {
    super();
    this.database = options.database;
    this.batcher = new HoldBatcher((calls) => this.placeBatch(calls));
  }

  async placeHolds(
    emitterId: string,
    holds: readonly PlaceHoldInput[],
  ): Promise<readonly PlaceHoldResult[]> {
    validateHolds({ emitterId, holds });
    if (holds.length === 0) return [];
    const results = await this.batcher.place({ emitterId, holds });
    for (const result of results) {
      if (result.outcome === 'refused') this.options.observer?.denied(result.reason);
    }
    return results;
  }

  async releaseHolds(emitterId: string, holdIds: readonly string[]): Promise<void> {
    for (const slice of slices(holdIds)) {
      // First and alone: from here on a placement of an unknown id meets it, and one that is under
      // way is waited for while nothing else is locked.
      await this.locked((tx) => rememberReleased(tx, emitterId, slice));
      await this.locked((tx) => releaseHoldsIn(tx, emitterId, slice));
    }
  }

  listHolds(emitterId: string, afterHoldId: string | null): Promise<readonly OpenHold[]> {
    return readOpenHolds(this.database, emitterId, afterHoldId, OPEN_HOLDS_PAGE);
  }

  async applyDefinition(definition: BudgetDefinitionInput): Promise<void> {
    validateDefinition(definition);
    await this.locked((tx) => applyDefinitions(tx, this.options.outbox, [definition]));
  }

  async figures(budgetIds: readonly string[]): Promise<readonly BudgetFigures[]> {
    const known = budgetIds.filter((budgetId) => parseUuid(budgetId) !== null);
    const pages = await Promise.all(
      slices(known).map((slice) => readAccounts(this.database, slice)),
    );
    return pages.flat().map((account) => ({
      budgetId: account.budgetId,
      epoch: account.epoch,
      limitPicoUsd: account.limitPicoUsd,
      settledPicoUsd: account.settledPicoUsd,
      heldPicoUsd: account.heldPicoUsd,
      exhausted: isExhausted(account.limitPicoUsd, account.settledPicoUsd),
      definitionRev: account.definitionRev,
      blocked: account.blocked,
      budgetRev: account.budgetRev,
      periodStart: null,
      periodEnd: null,
    }));
  }

  async spendOf(subjects: readonly BudgetSubject[]): Promise<readonly SubjectSpend[]> {
    const pages = await Promise.all(
      slices(subjects).map((slice) => readSpend(this.database, slice)),
    );
    const spent = new Map(
      pages.flat().map((each) => [subjectKey(each.scope, each.subjectId), each.settledPicoUsd]),
    );
    return subjects.map(({ scope, subjectId }) => ({
      scope,
      subjectId,
      settledPicoUsd: spent.get(subjectKey(scope, subjectId)) ?? ZERO_PICO_USD,
    }));
  }

  private placeBatch(calls: readonly HoldCall[]): Promise<readonly (readonly PlaceHoldResult[])[]> {
    return this.locked((tx) => placeHoldsIn(tx, calls));
  }

  /** Runs a transaction that waits briefly for locks; every call of this class may run again. */
  private async locked<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    for (let tried = 1; ; tried += 1) {
      try {
        return await this.database.transaction(async (tx) => {
          await tx.query(LOCK_TIMEOUT);
          return work(tx);
        });
      } catch (error) {
        if (error instanceof AppError) throw error;
        if (tried < MAX_TRIES && WORTH_ANOTHER_TRY.has(sqlState(error) ?? '')) continue;
        throw unavailable(messageOf(error), error);
      }
    }
  }
}

function slices<T>(items: readonly T[]): readonly (readonly T[])[] {
  const count = Math.ceil(items.length / MAX_IDS_PER_STATEMENT);
  return Array.from({ length: count }, (_, at) =>
    items.slice(at * MAX_IDS_PER_STATEMENT, (at + 1) * MAX_IDS_PER_STATEMENT),
  );
}
