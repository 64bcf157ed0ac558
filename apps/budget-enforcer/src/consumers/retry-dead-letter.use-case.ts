import { applyDefinitions, settleRated, type BudgetOutbox } from '#libs/budgets/adapters';
import type { LogRecord } from '#libs/event-log/core';
import { TOPICS } from '#libs/events';
import { AppError } from '#libs/kernel';
import { refuseRetry, type StoredDeadLetter, type Transaction } from '#libs/platform/postgres';

import { decodeDefinition, decodeRated } from './event-decoder.js';

/**
 * Does what a parked record asks for once it can be read. A batch that was settled meanwhile, from a
 * copy that metering sent, is not settled again; an older definition changes nothing.
 */
export class RetryDeadLetter {
  constructor(private readonly outbox: BudgetOutbox) {}

  /** @throws AppError `dead_letter.unreadable` (conflict) */
  async execute(tx: Transaction, letter: StoredDeadLetter): Promise<void> {
    const { topic, parkedAtMs: appendedAtMs } = letter;
    const record: LogRecord = { ...letter, key: letter.key.toString(), appendedAtMs };
    if (topic === TOPICS.usageRated) {
      await settleRated(tx, this.outbox, [readable(() => decodeRated(record))]);
      return;
    }
    const definition = readable(() => decodeDefinition(record));
    if (definition !== null) await applyDefinitions(tx, this.outbox, [definition]);
  }
}

function readable<T>(decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    if (error.code === 'budget.newer_event') {
      throw refuseRetry('unreadable', 'it needs a newer release');
    }
    throw refuseRetry('unreadable', `it still cannot be read: ${error.publicMessage}`);
  }
}
