import { accountKey, type AccountState } from '#libs/budgets/core';
import { assert, picoUsd } from '#libs/kernel';
import type { Transaction } from '#libs/platform/postgres';

import { lockAccounts, saveAccounts } from './account.query.js';
import { lockHolds, markReleased, readHolds } from './hold.query.js';

/**
 * Gives back the open holds of one emitter; other ids change nothing. The accounts are locked before the holds, as everywhere;
 * which accounts a hold was taken from never changes, so they may be looked up without a lock.
 */
export async function releaseHoldsIn(
  tx: Transaction,
  emitterId: string,
  holdIds: readonly string[],
): Promise<void> {
  const candidates = await readHolds(tx, holdIds);
  const own = candidates.filter((hold) => hold.emitterId === emitterId && hold.state === 'open');
  if (own.length === 0) return;
  const locked = await lockAccounts(tx, {
    accounts: own
      .flatMap((hold) => hold.budgets)
      .map((budget) => ({ budgetId: budget.budget_id, epoch: budget.epoch })),
  });
  const held = await lockHolds(
    tx,
    own.map((hold) => hold.holdId),
  );
  const open = held.filter((hold) => hold.state === 'open');
  const accounts = new Map<string, AccountState>(locked.map((each) => [accountKey(each), each]));
  for (const hold of open) {
    for (const { budget_id: budgetId, epoch } of hold.budgets) {
      const key = accountKey({ budgetId, epoch });
      const account = accounts.get(key);
      assert(account !== undefined, `hold ${hold.holdId} names account ${key}, which is unknown`);
      const heldPicoUsd = picoUsd(account.heldPicoUsd - hold.amountPicoUsd);
      accounts.set(key, { ...account, heldPicoUsd });
    }
  }
  await saveAccounts(tx, [...accounts.values()]);
  await markReleased(
    tx,
    open.map((hold) => hold.holdId),
  );
}
