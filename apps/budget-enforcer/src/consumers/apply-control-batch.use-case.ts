import { applyDefinitions, type BudgetOutbox } from '#libs/budgets/adapters';
import type { LogBatch } from '#libs/event-log/core';
import { failpoint } from '#libs/kernel';

import { decodeDefinition } from './event-decoder.js';
import { consumeBatch, type ConsumptionParts } from './log-consumption.js';

/** Brings budget definitions from the log to their accounts; older revisions change nothing. */
export class ApplyControlBatch {
  constructor(
    private readonly parts: ConsumptionParts,
    private readonly outbox: BudgetOutbox,
  ) {}

  execute(batch: LogBatch): Promise<void> {
    return consumeBatch(this.parts, batch, decodeDefinition, async (tx, definitions) => {
      await applyDefinitions(tx, this.outbox, definitions);
      failpoint('control.after_apply');
    });
  }
}
