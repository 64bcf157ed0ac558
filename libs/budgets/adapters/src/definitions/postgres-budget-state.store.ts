import type { BudgetStateV1 } from '#libs/events';
import type { Queryable, Transaction } from '#libs/platform/postgres';

/** The last known state of one budget, as derived from the `control` topic. */
export interface KnownBudgetState {
  readonly budgetId: string;
  readonly epoch: number;
  readonly budgetRev: number;
  readonly exhausted: boolean;
  readonly period: string;
  /** RFC 3339, UTC; null for a budget without a period end. */
  readonly resetsAt: string | null;
}

/** What a state event says, whichever event it was. */
export type BudgetStateNotice = Pick<
  BudgetStateV1,
  | 'budget_id'
  | 'scope'
  | 'subject_id'
  | 'epoch'
  | 'budget_rev'
  | 'exhausted'
  | 'period'
  | 'resets_at'
>;

/** States of budgets in schema `auth`, guarded by (epoch, budget_rev): an older one changes nothing. */
export class PostgresBudgetStateStore {
  /** Applies a notice unless the same or a newer one is known; safe to repeat. */
  async apply(tx: Transaction, notice: BudgetStateNotice): Promise<void> {
    await tx.query(
      `INSERT INTO budget_state AS s (budget_id, scope, subject_id, epoch, budget_rev, exhausted,
                                      period, resets_at, updated_at)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp())
       ON CONFLICT (budget_id) DO UPDATE
       SET epoch = excluded.epoch, budget_rev = excluded.budget_rev, exhausted = excluded.exhausted,
           period = excluded.period, resets_at = excluded.resets_at,
           updated_at = excluded.updated_at
       WHERE (s.epoch, s.budget_rev) < (excluded.epoch, excluded.budget_rev)`,
      [
        notice.budget_id,
        notice.scope,
        notice.subject_id,
        notice.epoch,
        notice.budget_rev,
        notice.exhausted,
        notice.period,
        notice.resets_at,
      ],
    );
  }

  /** Known states by budget id; budgets without one are absent. */
  async find(db: Queryable, budgetIds: readonly string[]): Promise<Map<string, KnownBudgetState>> {
    if (budgetIds.length === 0) return new Map();
    const { rows } = await db.query<KnownBudgetState & Record<string, unknown>>(
      `SELECT budget_id AS "budgetId", epoch::integer, budget_rev::integer AS "budgetRev",
         exhausted, period, resets_at AS "resetsAt"
       FROM budget_state WHERE budget_id = ANY ($1::uuid[])`,
      [budgetIds],
    );
    return new Map(rows.map((row) => [row.budgetId, row]));
  }
}
