import type { AccountState, BudgetEvent, Overrun } from '#libs/budgets/core';
import { failpoint, formatUsd } from '#libs/kernel';
import type { Queryable, Transaction } from '#libs/platform/postgres';

import { saveAccounts } from './account.query.js';
import type { BudgetOutbox } from './budget-outbox.js';

/** Writes assessed accounts, keeps their block history and publishes what was said about them. */
export async function saveAssessed(
  tx: Transaction,
  outbox: BudgetOutbox,
  accounts: readonly AccountState[],
  events: readonly BudgetEvent[],
): Promise<void> {
  await saveAccounts(tx, accounts);
  await recordBlocks(tx, events);
  failpoint('block.after_write');
  await outbox.publish(tx, events);
}

async function recordBlocks(tx: Queryable, events: readonly BudgetEvent[]): Promise<void> {
  const states = events.flatMap((event) =>
    event.type === 'budget.exceeded.v1' || event.type === 'budget.reinstated.v1'
      ? [event.data]
      : [],
  );
  if (states.length === 0) return;
  await tx.query(
    `INSERT INTO block (budget_id, epoch, budget_rev, scope, subject_id, blocked)
     SELECT * FROM unnest($1::uuid[], $2::int[], $3::int[], $4::text[], $5::text[], $6::boolean[])`,
    [
      states.map((each) => each.budget_id),
      states.map((each) => each.epoch),
      states.map((each) => each.budget_rev),
      states.map((each) => each.scope),
      states.map((each) => each.subject_id),
      states.map((each) => each.exhausted),
    ],
  );
}

/** An overrun with the batch it was found in. */
export type BatchOverrun = Overrun & { readonly batchId: string };

/** Records charges that their hold did not cover. */
export async function recordOverruns(
  tx: Queryable,
  overruns: readonly BatchOverrun[],
): Promise<void> {
  if (overruns.length === 0) return;
  await tx.query(
    `INSERT INTO overrun (hold_id, batch_id, held_usd, charge_usd, cause)
     SELECT * FROM unnest($1::text[], $2::text[], $3::numeric[], $4::numeric[], $5::text[])
     ON CONFLICT (hold_id, batch_id) DO NOTHING`,
    [
      overruns.map((each) => each.holdId),
      overruns.map((each) => each.batchId),
      overruns.map((each) => formatUsd(each.heldPicoUsd)),
      overruns.map((each) => formatUsd(each.chargePicoUsd)),
      overruns.map((each) => each.cause),
    ],
  );
}
