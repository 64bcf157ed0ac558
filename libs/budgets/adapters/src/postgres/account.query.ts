import type { BudgetScope } from '#libs/events';
import { assert, formatUsd, parseUsd } from '#libs/kernel';
import type { Queryable } from '#libs/platform/postgres';

import type { AccountId, AccountState, BudgetSubject } from '#libs/budgets/core';

/** A row of `budget_account` as the driver gives it. */
interface AccountRow {
  readonly budget_id: string;
  readonly epoch: number;
  readonly scope: BudgetScope;
  readonly subject_id: string;
  readonly period: string;
  readonly limit_usd: string;
  readonly settled_usd: string;
  readonly held_usd: string;
  readonly leased_usd: string;
  readonly thresholds: readonly number[];
  readonly fired_thresholds: readonly number[];
  readonly enabled: boolean;
  readonly deleted: boolean;
  readonly is_current: boolean;
  readonly blocked: boolean;
  readonly budget_rev: number;
  readonly definition_rev: number;
}

const COLUMNS = `a.budget_id, a.epoch, a.scope, a.subject_id, a.period, a.limit_usd, a.settled_usd,
  a.held_usd, a.leased_usd, a.thresholds, a.fired_thresholds, a.enabled, a.deleted, a.is_current,
  a.blocked, a.budget_rev, a.definition_rev`;

function fromAccountRow(row: AccountRow): AccountState {
  return {
    budgetId: row.budget_id,
    epoch: row.epoch,
    scope: row.scope,
    subjectId: row.subject_id,
    period: row.period,
    limitPicoUsd: parseUsd(row.limit_usd),
    settledPicoUsd: parseUsd(row.settled_usd),
    heldPicoUsd: parseUsd(row.held_usd),
    leasedPicoUsd: parseUsd(row.leased_usd),
    thresholds: row.thresholds,
    firedThresholds: row.fired_thresholds,
    enabled: row.enabled,
    deleted: row.deleted,
    isCurrent: row.is_current,
    blocked: row.blocked,
    budgetRev: row.budget_rev,
    definitionRev: row.definition_rev,
  };
}

/** Accounts to lock: the current ones of subjects and budgets, and named epochs of budgets. */
export interface AccountSelection {
  readonly subjects?: readonly BudgetSubject[];
  readonly budgetIds?: readonly string[];
  readonly accounts?: readonly AccountId[];
}

/**
 * Locks accounts in the one order that every transaction uses (budget id, epoch), so that no two can
 * wait for each other, and reads them as they are once locked.
 */
export async function lockAccounts(
  tx: Queryable,
  selection: AccountSelection,
): Promise<readonly AccountState[]> {
  const { subjects = [], budgetIds = [], accounts = [] } = selection;
  const { rows } = await tx.query<AccountRow>(
    {
      name: 'budget-lock-accounts',
      text: `WITH wanted AS (
               SELECT budget_id, epoch FROM budget_account JOIN
                 unnest($1::text[], $2::text[]) AS s (scope, subject_id) USING (scope, subject_id)
                 WHERE is_current
               UNION SELECT budget_id, epoch FROM budget_account
                 WHERE is_current AND budget_id = ANY ($3::uuid[])
               UNION SELECT * FROM unnest($4::uuid[], $5::int[])
             )
             SELECT ${COLUMNS} FROM budget_account a
             WHERE (a.budget_id, a.epoch) IN (SELECT budget_id, epoch FROM wanted)
             ORDER BY a.budget_id, a.epoch FOR NO KEY UPDATE`,
    },
    [
      subjects.map((each) => each.scope),
      subjects.map((each) => each.subjectId),
      budgetIds,
      accounts.map((each) => each.budgetId),
      accounts.map((each) => each.epoch),
    ],
  );
  return rows.map(fromAccountRow);
}

/** Current accounts of the named budgets without a lock, ascending by id. */
export async function readAccounts(
  db: Queryable,
  budgetIds: readonly string[],
): Promise<readonly AccountState[]> {
  const { rows } = await db.query<AccountRow>(
    `SELECT ${COLUMNS} FROM budget_account a
     WHERE a.is_current AND a.budget_id = ANY ($1::uuid[]) ORDER BY a.budget_id`,
    [budgetIds],
  );
  return rows.map(fromAccountRow);
}

/**
 * Adds to the held amounts of locked accounts. The statement repeats the rule of admission: an
 * account that could not bear the amount stops the transaction.
 * @throws AppError `internal.assertion` when an account would pass its limit
 */
export async function addHeld(tx: Queryable, accounts: readonly AccountState[]): Promise<void> {
  if (accounts.length === 0) return;
  const { rowCount } = await tx.query(
    {
      name: 'budget-add-held',
      text: `UPDATE budget_account a SET held_usd = n.held_usd
             FROM unnest($1::uuid[], $2::int[], $3::numeric[]) AS n (budget_id, epoch, held_usd)
             WHERE a.budget_id = n.budget_id AND a.epoch = n.epoch
               AND a.settled_usd + n.held_usd + a.leased_usd <= a.limit_usd`,
    },
    [
      accounts.map((each) => each.budgetId),
      accounts.map((each) => each.epoch),
      accounts.map((each) => formatUsd(each.heldPicoUsd)),
    ],
  );
  assert(rowCount === accounts.length, 'an admission would pass the limit of an account');
}

/** Writes locked accounts whole; rows that do not exist yet are made. */
export async function saveAccounts(
  tx: Queryable,
  accounts: readonly AccountState[],
): Promise<void> {
  if (accounts.length === 0) return;
  await tx.query(
    `INSERT INTO budget_account AS a
       (budget_id, epoch, scope, subject_id, period, limit_usd, settled_usd, held_usd, leased_usd,
        thresholds, fired_thresholds, enabled, deleted, is_current, blocked, budget_rev,
        definition_rev)
     SELECT * FROM jsonb_to_recordset($1::jsonb) AS n (budget_id uuid, epoch int, scope text,
        subject_id text, period text, limit_usd numeric, settled_usd numeric, held_usd numeric,
        leased_usd numeric, thresholds float8[], fired_thresholds float8[], enabled boolean,
        deleted boolean, is_current boolean, blocked boolean, budget_rev int, definition_rev int)
     ON CONFLICT (budget_id, epoch) DO UPDATE SET
       limit_usd = excluded.limit_usd, settled_usd = excluded.settled_usd,
       held_usd = excluded.held_usd, leased_usd = excluded.leased_usd,
       thresholds = excluded.thresholds, fired_thresholds = excluded.fired_thresholds,
       enabled = excluded.enabled, deleted = excluded.deleted, is_current = excluded.is_current,
       blocked = excluded.blocked, budget_rev = excluded.budget_rev,
       definition_rev = excluded.definition_rev`,
    [JSON.stringify(accounts.map(toAccountRow))],
  );
}

function toAccountRow(account: AccountState): AccountRow {
  return {
    budget_id: account.budgetId,
    epoch: account.epoch,
    scope: account.scope,
    subject_id: account.subjectId,
    period: account.period,
    limit_usd: formatUsd(account.limitPicoUsd),
    settled_usd: formatUsd(account.settledPicoUsd),
    held_usd: formatUsd(account.heldPicoUsd),
    leased_usd: formatUsd(account.leasedPicoUsd),
    thresholds: account.thresholds,
    fired_thresholds: account.firedThresholds,
    enabled: account.enabled,
    deleted: account.deleted,
    is_current: account.isCurrent,
    blocked: account.blocked,
    budget_rev: account.budgetRev,
    definition_rev: account.definitionRev,
  };
}
