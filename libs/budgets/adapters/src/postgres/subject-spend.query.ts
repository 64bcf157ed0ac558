import { subjectKey, type BudgetSubject, type SubjectCharge } from '#libs/budgets/core';
import type { BudgetScope } from '#libs/events';
import { formatUsd, parseUsd, type PicoUsd } from '#libs/kernel';
import type { Queryable } from '#libs/platform/postgres';

/** Settled spend of one subject. */
export type SubjectSpend = BudgetSubject & { readonly settledPicoUsd: PicoUsd };

/** A row of `subject_spend` as the driver gives it. */
interface SpendRow {
  readonly scope: BudgetScope;
  readonly subject_id: string;
  readonly settled_usd: string;
}

function fromSpendRow(row: SpendRow): SubjectSpend {
  return {
    scope: row.scope,
    subjectId: row.subject_id,
    settledPicoUsd: parseUsd(row.settled_usd),
  };
}

/**
 * Adds charges to subjects and so locks their rows, ascending by (scope, subject). Whoever opens an
 * account locks the subject first: either sees the other's work whole.
 * @param charges one per subject at most, each > 0
 */
export async function addSpend(tx: Queryable, charges: readonly SubjectCharge[]): Promise<void> {
  if (charges.length === 0) return;
  await tx.query(
    `INSERT INTO subject_spend AS s (scope, subject_id, settled_usd)
     SELECT * FROM unnest($1::text[], $2::text[], $3::numeric[]) AS n (scope, subject_id, amount)
     ORDER BY scope COLLATE "C", subject_id COLLATE "C"
     ON CONFLICT (scope, subject_id)
       DO UPDATE SET settled_usd = s.settled_usd + excluded.settled_usd`,
    [
      charges.map((each) => each.scope),
      charges.map((each) => each.subjectId),
      charges.map((each) => formatUsd(each.chargePicoUsd)),
    ],
  );
}

/** Locks subjects, ascending by (scope, subject), and reads what each has spent, by `subjectKey`. */
export async function lockSpend(
  tx: Queryable,
  subjects: readonly BudgetSubject[],
): Promise<ReadonlyMap<string, PicoUsd>> {
  const values = [subjects.map((each) => each.scope), subjects.map((each) => each.subjectId)];
  const { rows } = await tx.query<SpendRow>(
    `INSERT INTO subject_spend AS s (scope, subject_id, settled_usd)
     SELECT DISTINCT scope COLLATE "C", subject_id COLLATE "C", 0
     FROM unnest($1::text[], $2::text[]) AS n (scope, subject_id) ORDER BY 1, 2
     ON CONFLICT (scope, subject_id) DO UPDATE SET settled_usd = s.settled_usd
     RETURNING s.scope, s.subject_id, s.settled_usd`,
    values,
  );
  const spent = rows.map(fromSpendRow);
  return new Map(
    spent.map((each) => [subjectKey(each.scope, each.subjectId), each.settledPicoUsd]),
  );
}

/** Settled spend of subjects that were ever charged; others are absent. */
export async function readSpend(
  db: Queryable,
  subjects: readonly BudgetSubject[],
): Promise<readonly SubjectSpend[]> {
  const { rows } = await db.query<SpendRow>(
    `SELECT s.scope, s.subject_id, s.settled_usd FROM subject_spend s
     JOIN (SELECT DISTINCT * FROM unnest($1::text[], $2::text[]) AS u (scope, subject_id)) n
       USING (scope, subject_id)`,
    [subjects.map((each) => each.scope), subjects.map((each) => each.subjectId)],
  );
  return rows.map(fromSpendRow);
}
