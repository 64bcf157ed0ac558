import { assessAccount, type AccountId } from '#libs/budgets/core';
import type { Database, Transaction } from '#libs/platform/postgres';

import { lockAccounts } from './account.query.js';
import { saveAssessed } from './announcement.query.js';
import type { BudgetOutbox } from './budget-outbox.js';

/** Advisory lock that lets one instance work at a time; freed with its transaction or session. */
export const RECONCILER_LOCK = 7_021_511_410n;
/** Accounts put right in one pass; what is left over is found by the next. */
const ACCOUNTS_PER_PASS = 500;
/** `isExhausted` in SQL, as the partial indexes of `budget_account` state it. */
const EXHAUSTED = `limit_usd - settled_usd <= least(0.0001, trunc(limit_usd * 0.001, 12))`;

/** What a pass came to. */
export interface ReconcilePass {
  /** False when another instance was working. */
  readonly isOwner: boolean;
  /** Accounts whose block was missing or stale. */
  readonly corrected: number;
}

/**
 * Looks at the level of every account, not at what happened to it: exhausted accounts without a
 * block are blocked, blocks whose reason is gone are lifted. Any number of instances may run it.
 */
export class BudgetReconciler {
  constructor(
    private readonly database: Database,
    private readonly outbox: BudgetOutbox,
  ) {}

  /** One pass, at most 500 accounts; cheap when there is nothing to do. */
  execute(): Promise<ReconcilePass> {
    return this.database.transaction(async (tx) => {
      const { rows } = await tx.query<{ locked: boolean }>(
        'SELECT pg_try_advisory_xact_lock($1) AS locked',
        [RECONCILER_LOCK],
      );
      if (!rows[0]!.locked) return { isOwner: false, corrected: 0 };
      const found = await tx.query<{ budget_id: string; epoch: number }>(
        `(SELECT budget_id, epoch FROM budget_account
           WHERE NOT blocked AND is_current AND enabled AND NOT deleted AND ${EXHAUSTED} LIMIT $1)
         UNION ALL
         (SELECT budget_id, epoch FROM budget_account
           WHERE blocked AND NOT (is_current AND enabled AND NOT deleted AND ${EXHAUSTED})
           LIMIT $1)`,
        [ACCOUNTS_PER_PASS / 2],
      );
      if (found.rowCount === 0) return { isOwner: true, corrected: 0 };
      const ids = found.rows.map((row) => ({ budgetId: row.budget_id, epoch: row.epoch }));
      return { isOwner: true, corrected: await this.correct(tx, ids) };
    });
  }

  /**
   * The same look at named accounts, at once, in whichever instance is asked.
   * @returns how many of them were put right
   */
  enforce(accounts: readonly AccountId[]): Promise<number> {
    return this.database.transaction((tx) => this.correct(tx, accounts));
  }

  private async correct(tx: Transaction, ids: readonly AccountId[]): Promise<number> {
    const accounts = await lockAccounts(tx, { accounts: ids });
    const assessed = accounts.map(assessAccount).filter((each) => each.events.length > 0);
    await saveAssessed(
      tx,
      this.outbox,
      assessed.map((each) => each.account),
      assessed.flatMap((each) => each.events),
    );
    return assessed.length;
  }
}
