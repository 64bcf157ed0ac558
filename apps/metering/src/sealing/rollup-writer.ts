import { cellsOf, type UsageStore } from '#libs/usage/core';

import type { PlannedBatch } from '../domain/plan-batch.js';
import type { OwnedPartition } from '../sink/owned-partition.js';

/** Writes the rollup of batches whose rows are in the ledger. */
export class RollupWriter {
  private repeats = 0;

  constructor(private readonly usageStore: UsageStore) {}

  /**
   * Writes the cells of a batch of attempts; a batch of refusals has none.
   * @param isRepeat whether they may have been written before. Then the token is a new one: the former
   *   may be known to the store without its cells. Cells that are there replace themselves.
   */
  async write(owned: OwnedPartition, plan: PlannedBatch, isRepeat: boolean): Promise<void> {
    if (plan.table !== 'usage' || plan.usageRows.length === 0) return;
    let token = `${plan.batchId}:roll`;
    if (isRepeat) {
      this.repeats += 1;
      token += `:${owned.epoch}.${this.repeats}`;
    }
    const key = { batchId: plan.batchId, token };
    await this.usageStore.insertCells(key, plan.month, cellsOf(plan.usageRows));
  }
}
