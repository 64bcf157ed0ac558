import { settleRated, type BudgetOutbox, type SettlementReport } from '#libs/budgets/adapters';
import type { LogBatch } from '#libs/event-log/core';
import { failpoint } from '#libs/kernel';

import { decodeRated } from './event-decoder.js';
import type { EnforcementJobs } from '../jobs/enforcement.jobs.js';
import { consumeBatch, type ConsumptionParts } from './log-consumption.js';

/** Settles rated messages as they come from the log: each once, its announcements with it. */
export class ApplyRatedBatch {
  constructor(
    private readonly parts: ConsumptionParts,
    private readonly outbox: BudgetOutbox,
    private readonly enforcement: Pick<EnforcementJobs, 'request'>,
  ) {}

  async execute(batch: LogBatch): Promise<void> {
    let report: SettlementReport | undefined;
    await consumeBatch(this.parts, batch, decodeRated, async (tx, messages) => {
      failpoint('rated.before_apply');
      report = await settleRated(tx, this.outbox, messages);
      failpoint('rated.after_apply');
    });
    if (report === undefined) return;
    this.parts.metrics.settled(report);
    this.enforcement.request(report.exhausted);
  }
}
