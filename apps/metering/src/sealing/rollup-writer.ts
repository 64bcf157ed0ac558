import { uuidHex, uuidV4, type Random } from '#libs/kernel';
import { cellsOf, type UsageStore } from '#libs/usage/core';

import type { PlannedBatch } from '../domain/plan-batch.js';

/** Writes the rollup of batches whose rows are in the ledger. */
export class RollupWriter {
  constructor(
    private readonly usageStore: UsageStore,
    private readonly random: Random,
  ) {}

  /**
   * Writes the cells of a batch of attempts; a batch of refusals has none.
   * @param isRepeat whether they may have been written before, by whatever process. Then the token is
   *   one that nobody has used: a former one may be known to the store without its cells.
   */
  async write(plan: PlannedBatch, isRepeat: boolean): Promise<void> {
    if (plan.table !== 'usage' || plan.usageRows.length === 0) return;
    const { batchId, month } = plan;
    const cells = cellsOf(plan.usageRows);
    const token = `${batchId}:roll`;
    if (!isRepeat) return this.usageStore.insertCells({ batchId, token }, month, cells);
    const unused = `${token}:${uuidHex(uuidV4(this.random))}`;
    return this.usageStore.overwriteCells({ batchId, token: unused }, month, cells);
  }
}
