import type { KnownHold, NewHold, OpenHold } from '#libs/budgets/core';
import { assert, formatUsd, parseUsd, type PicoUsd } from '#libs/kernel';
import type { Queryable } from '#libs/platform/postgres';

/** A row of `hold` as the driver gives it. */
interface HoldRow {
  readonly hold_id: string;
  readonly emitter_id: string;
  readonly amount_usd: string;
  readonly budget_ids: readonly string[];
  readonly epochs: readonly number[];
  readonly state: KnownHold['state'];
}

// The driver does not parse arrays of uuid.
const COLUMNS = `hold_id, emitter_id, amount_usd, budget_ids::text[] AS budget_ids, epochs, state`;

function fromHoldRow(row: HoldRow): KnownHold {
  return {
    holdId: row.hold_id,
    emitterId: row.emitter_id,
    amountPicoUsd: parseUsd(row.amount_usd),
    budgets: row.budget_ids.map((budget_id, at) => ({ budget_id, epoch: row.epochs[at]! })),
    state: row.state,
  };
}

/** Holds by id in any state; unknown ids are absent. */
export async function readHolds(
  db: Queryable,
  holdIds: readonly string[],
): Promise<readonly KnownHold[]> {
  const { rows } = await db.query<HoldRow>(
    {
      name: 'budget-read-holds',
      text: `SELECT ${COLUMNS} FROM hold WHERE hold_id = ANY ($1::text[])`,
    },
    [holdIds],
  );
  return rows.map(fromHoldRow);
}

/** Holds by id as they are once no other transaction can end them. */
export async function lockHolds(
  tx: Queryable,
  holdIds: readonly string[],
): Promise<readonly KnownHold[]> {
  const { rows } = await tx.query<HoldRow>(
    `SELECT ${COLUMNS} FROM hold WHERE hold_id = ANY ($1::text[])
     ORDER BY hold_id FOR NO KEY UPDATE`,
    [holdIds],
  );
  return rows.map(fromHoldRow);
}

/** A hold with the emitter that asked for it. */
export type OwnedHold = NewHold & { readonly emitterId: string };

/** Stores open holds. @throws DatabaseError 23505 when one of the ids exists */
export async function insertHolds(tx: Queryable, holds: readonly OwnedHold[]): Promise<void> {
  if (holds.length === 0) return;
  await tx.query(
    {
      name: 'budget-insert-holds',
      text: `INSERT INTO hold (hold_id, emitter_id, amount_usd, budget_ids, epochs, state)
             SELECT hold_id, emitter_id, amount_usd, budget_ids::uuid[], epochs::int[], 'open'
             FROM unnest($1::text[], $2::text[], $3::numeric[], $4::text[], $5::text[])
               AS n (hold_id, emitter_id, amount_usd, budget_ids, epochs)
             ORDER BY hold_id COLLATE "C"`,
    },
    [
      holds.map((each) => each.holdId),
      holds.map((each) => each.emitterId),
      holds.map((each) => formatUsd(each.amountPicoUsd)),
      holds.map((each) => `{${each.budgets.map((budget) => budget.budget_id).join(',')}}`),
      holds.map((each) => `{${each.budgets.map((budget) => budget.epoch).join(',')}}`),
    ],
  );
}

/** Ends locked open holds with their charges. */
export async function settleHolds(
  tx: Queryable,
  holds: readonly { readonly holdId: string; readonly chargePicoUsd: PicoUsd }[],
): Promise<void> {
  if (holds.length === 0) return;
  const { rowCount } = await tx.query(
    `UPDATE hold h SET state = 'settled', charge_usd = n.charge_usd, ended_at = now()
     FROM unnest($1::text[], $2::numeric[]) AS n (hold_id, charge_usd)
     WHERE h.hold_id = n.hold_id AND h.state = 'open'`,
    [holds.map((each) => each.holdId), holds.map((each) => formatUsd(each.chargePicoUsd))],
  );
  assert(rowCount === holds.length, 'a hold ended twice');
}

/** Ends locked open holds at nothing. */
export async function markReleased(tx: Queryable, holdIds: readonly string[]): Promise<void> {
  if (holdIds.length === 0) return;
  const { rowCount } = await tx.query(
    `UPDATE hold SET state = 'released', ended_at = now()
     WHERE hold_id = ANY ($1::text[]) AND state = 'open'`,
    [holdIds],
  );
  assert(rowCount === holdIds.length, 'a hold ended twice');
}

/** Remembers ids that were given back before they were placed; known ids stay as they are. */
export async function rememberReleased(
  tx: Queryable,
  emitterId: string,
  holdIds: readonly string[],
): Promise<void> {
  await tx.query(
    `INSERT INTO hold (hold_id, emitter_id, amount_usd, budget_ids, epochs, state, ended_at)
     SELECT id, $1, 0, '{}', '{}', 'released', now() FROM unnest($2::text[]) AS n (id)
     ORDER BY id COLLATE "C"
     ON CONFLICT (hold_id) DO NOTHING`,
    [emitterId, holdIds],
  );
}

/** One page of an emitter's open holds, ascending by id. */
export async function readOpenHolds(
  db: Queryable,
  emitterId: string,
  afterHoldId: string | null,
  limit: number,
): Promise<readonly OpenHold[]> {
  const { rows } = await db.query<{ hold_id: string; amount_usd: string }>(
    `SELECT hold_id, amount_usd FROM hold
     WHERE emitter_id = $1 AND state = 'open' AND hold_id > $2 ORDER BY hold_id LIMIT $3`,
    [emitterId, afterHoldId ?? '', limit],
  );
  return rows.map((row) => ({ holdId: row.hold_id, amountPicoUsd: parseUsd(row.amount_usd) }));
}
