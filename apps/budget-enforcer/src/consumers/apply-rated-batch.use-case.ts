import { settleRated, type BudgetOutbox, type SettlementReport } from '#libs/budgets/adapters';
import type { LogBatch } from '#libs/event-log/core';

import { decodeRated } from './event-decoder.js';
import { consumeBatch, type ConsumptionParts } from './log-consumption.js';

/** Settles rated messages as they come from the log: each once, its announcements with it. */
export class ApplyRatedBatch {
  constructor(
    private readonly parts: ConsumptionParts,
    private readonly outbox: BudgetOutbox,
  ) {}

  async execute(batch: LogBatch): Promise<void> {
    let report: SettlementReport | undefined;
    await consumeBatch(this.parts, batch, decodeRated, async (tx, messages) => {
      report = await settleRated(tx, this.outbox, messages);
    });
    if (report !== undefined) this.parts.metrics.settled(report);
  }
}
