import type {
  BudgetStateNotice,
  PostgresBudgetDefinitionStore,
  PostgresBudgetStateStore,
} from '#libs/budgets/adapters';
import {
  definitionInputOf,
  type BudgetAuthority,
  type BudgetFigures,
  type BudgetRow,
} from '#libs/budgets/core';
import { AppError, type Clock } from '#libs/kernel';
import type { Database } from '#libs/platform/postgres';

/** What budgets are compared with. */
export interface ReconcileBudgetsParts {
  readonly database: Database;
  readonly definitions: Pick<PostgresBudgetDefinitionStore, 'page'>;
  readonly states: PostgresBudgetStateStore;
  readonly authority: Pick<BudgetAuthority, 'figures' | 'applyDefinition'>;
  readonly clock: Clock;
  /** Told of a definition that the authority will not take; the others are compared all the same. */
  readonly onRefused: (budgetId: string, error: AppError) => void;
}

/** What a pass put right. */
export interface BudgetCorrections {
  /** Definitions that the authority did not have. */
  readonly definitions: number;
  /** States of budgets that auth did not have. */
  readonly states: number;
}

/** Budgets compared at once. */
const PAGE = 500;
/** Deleted budgets are compared this long, milliseconds: 30 days. */
const DELETED_MS = 30 * 86_400_000;
/** One instance at a time; freed with its session. */
const LOCK = 7_021_511_420n;

/**
 * Compares every budget with the budget authority, by revision and in both directions: the authority
 * gets definitions it has not heard of, auth learns which budgets are exhausted. What `control` says of
 * either is therefore a hint that may be lost.
 */
export class ReconcileBudgets {
  constructor(private readonly parts: ReconcileBudgetsParts) {}

  /**
   * One pass over all budgets; what is equal costs two reads per 500.
   * @returns null when another instance is at it
   * @throws AppError `rpc.unavailable` when the authority cannot be asked
   */
  async execute(signal: AbortSignal): Promise<BudgetCorrections | null> {
    const session = await this.parts.database.session();
    try {
      const { rows } = await session.query<{ locked: boolean }>(
        'SELECT pg_try_advisory_lock($1) AS locked',
        [LOCK],
      );
      return rows[0]!.locked ? await this.pass(signal) : null;
    } finally {
      await session.close();
    }
  }

  private async pass(signal: AbortSignal): Promise<BudgetCorrections> {
    const { definitions, clock } = this.parts;
    const since = clock.nowMs() - DELETED_MS;
    const done = { definitions: 0, states: 0 };
    for (let afterId: string | null = null; !signal.aborted;) {
      const rows: readonly BudgetRow[] = await definitions.page(afterId, since, PAGE);
      const corrected = await this.comparePage(rows.filter(({ period }) => period === 'total'));
      done.definitions += corrected.definitions;
      done.states += corrected.states;
      if (rows.length < PAGE) break;
      afterId = rows.at(-1)!.budgetId;
    }
    return done;
  }

  private async comparePage(rows: readonly BudgetRow[]): Promise<BudgetCorrections> {
    if (rows.length === 0) return { definitions: 0, states: 0 };
    const figures = await this.parts.authority.figures(rows.map(({ budgetId }) => budgetId));
    const known = new Map(figures.map((each) => [each.budgetId, each]));
    return {
      definitions: await this.define(rows.filter((row) => isUnheard(row, known))),
      states: await this.learn(rows, known),
    };
  }

  private async define(rows: readonly BudgetRow[]): Promise<number> {
    let taken = 0;
    for (const row of rows) {
      try {
        await this.parts.authority.applyDefinition(definitionInputOf(row));
        taken += 1;
      } catch (error) {
        if (!(error instanceof AppError) || error.kind !== 'invalid') throw error;
        this.parts.onRefused(row.budgetId, error);
      }
    }
    return taken;
  }

  private async learn(
    rows: readonly BudgetRow[],
    figures: ReadonlyMap<string, BudgetFigures>,
  ): Promise<number> {
    const { database, states } = this.parts;
    const known = await states.find(
      database,
      rows.map(({ budgetId }) => budgetId),
    );
    const news = rows.flatMap((row) => {
      const state = figures.get(row.budgetId);
      if (state === undefined || state.budgetRev === 0) return [];
      const old = known.get(row.budgetId);
      const isNews =
        old === undefined ||
        state.epoch > old.epoch ||
        (state.epoch === old.epoch && state.budgetRev > old.budgetRev);
      return isNews ? [noticeOf(row, state)] : [];
    });
    if (news.length === 0) return 0;
    await database.transaction(async (tx) => {
      for (const notice of news) await states.apply(tx, notice);
    });
    return news.length;
  }
}

/** A deleted row that the authority never knew has nothing to end. */
function isUnheard(row: BudgetRow, figures: ReadonlyMap<string, BudgetFigures>): boolean {
  const state = figures.get(row.budgetId);
  return state === undefined ? row.deletedAtMs === null : state.definitionRev < row.rev;
}

function noticeOf(row: BudgetRow, state: BudgetFigures): BudgetStateNotice {
  return {
    budget_id: row.budgetId,
    scope: row.scope,
    subject_id: row.scopeId,
    epoch: state.epoch,
    budget_rev: state.budgetRev,
    exhausted: state.blocked,
    period: row.period,
    resets_at: state.periodEnd,
  };
}
