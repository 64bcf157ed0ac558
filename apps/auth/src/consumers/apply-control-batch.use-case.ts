import { readBudgetNotice, type PostgresBudgetStateStore } from '#libs/budgets/adapters';
import type { LogBatch, LogRecord } from '#libs/event-log/core';
import { AppError, failpoint } from '#libs/kernel';
import {
  keepDeadLetters,
  refuseRetry,
  type Database,
  type PartitionPositions,
  type StoredDeadLetter,
  type Transaction,
} from '#libs/platform/postgres';

/** Brings what the budget authority says on `control` into the states that keys are judged by. */
export class ApplyControlBatch {
  constructor(
    private readonly database: Database,
    private readonly positions: PartitionPositions,
    private readonly states: PostgresBudgetStateStore,
  ) {}

  /**
   * One transaction: states, parked records and the next offset. Safe to repeat.
   * @throws AppError `log.fenced`; `events.newer_major` when a newer release must read on
   */
  async execute(batch: LogBatch): Promise<void> {
    const { topic, partition, epoch, records } = batch;
    const next = records.at(-1)!.offset + 1n;
    await this.database.transaction(async (tx) => {
      const stored = await this.positions.assertEpoch(tx, topic, partition, epoch);
      for (const record of records) if (record.offset >= stored) await this.apply(tx, record);
      failpoint('control.after_apply');
      if (next > stored) await this.positions.advance(tx, topic, partition, epoch, next);
    });
    batch.resolve(next);
  }

  /**
   * Applies a parked record that can be read by now; what is older than what is known changes nothing.
   * @throws AppError `dead_letter.unreadable`
   */
  async retry(tx: Transaction, { headers, value }: StoredDeadLetter): Promise<void> {
    const reading = readBudgetNotice(headers['ce_type'] ?? '', value);
    if (reading.kind === 'notice') await this.states.apply(tx, reading.notice);
    if (reading.kind === 'newer') throw refuseRetry('unreadable', 'it needs a newer release');
    if (reading.kind === 'poison') {
      throw refuseRetry('unreadable', `it still cannot be read: ${reading.reason}`);
    }
  }

  private async apply(tx: Transaction, record: LogRecord): Promise<void> {
    const reading = readBudgetNotice(record.headers['ce_type'] ?? '', record.value);
    switch (reading.kind) {
      case 'notice':
        return this.states.apply(tx, reading.notice);
      case 'poison':
        return keepDeadLetters(tx, [
          { record, faultClass: 'malformed', error: reading.reason, booked: false },
        ]);
      case 'newer':
        throw newerMajor(reading.type, record.offset);
      case 'other':
        return;
    }
  }
}

function newerMajor(type: string, offset: bigint): AppError {
  return new AppError({
    code: 'events.newer_major',
    kind: 'internal',
    publicMessage: 'internal error',
    internalMessage: `control offset ${offset}: ${type} needs a newer release`,
  });
}
