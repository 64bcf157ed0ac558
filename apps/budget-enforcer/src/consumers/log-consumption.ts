import type { LogBatch, LogRecord } from '#libs/event-log/core';
import { AppError, assert } from '#libs/kernel';
import {
  keepDeadLetters,
  type Database,
  type DeadLetter,
  type PartitionPositions,
  type Transaction,
} from '#libs/platform/postgres';

import type { BudgetAlarms } from '../budget-alarms.js';
import type { BudgetMetrics } from '../budget-metrics.js';

/** What consuming a batch needs, whatever is in it. */
export interface ConsumptionParts {
  readonly database: Database;
  readonly positions: PartitionPositions;
  readonly metrics: BudgetMetrics;
  readonly alarms: BudgetAlarms;
}

/** Records of a batch that were read, and those that cannot be. */
export interface DecodedRecords<T> {
  readonly values: readonly T[];
  readonly letters: readonly DeadLetter[];
}

/**
 * Consumes one batch of the log in one transaction: fence, records not consumed before, dead
 * letters, position. Only then does the subscription move on; after any failure the same batch comes
 * again and nothing of it has been applied.
 * @param decode null for a record that does not concern this consumer
 */
export async function consumeBatch<T>(
  parts: ConsumptionParts,
  batch: LogBatch,
  decode: (record: LogRecord) => T | null,
  apply: (tx: Transaction, values: readonly T[]) => Promise<void>,
): Promise<void> {
  const { topic, partition, epoch, records } = batch;
  const nextOffset = records.at(-1)!.offset + 1n;
  try {
    const setAside = await parts.database.transaction(async (tx) => {
      const stored = await parts.positions.assertEpoch(tx, topic, partition, epoch);
      assert(
        records[0]!.offset <= stored,
        `${topic}/${partition} was handed over from ${records[0]!.offset} on, not from ${stored}`,
      );
      const fresh = records.filter((record) => record.offset >= stored);
      if (fresh.length === 0) return 0;
      const { values, letters } = decodeAll(fresh, decode);
      await apply(tx, values);
      await keepDeadLetters(tx, letters);
      await parts.positions.advance(tx, topic, partition, epoch, nextOffset);
      return letters.length;
    });
    parts.metrics.setAside(topic, setAside);
    parts.alarms.partitionMoved(topic, partition);
  } catch (error) {
    noteStop(parts.alarms, batch, error);
    throw error;
  }
  batch.resolve(nextOffset);
}

/** A partition that is lost to another instance is that one's concern, now or later. */
function noteStop(alarms: BudgetAlarms, batch: LogBatch, error: unknown): void {
  const { topic, partition, signal } = batch;
  if (signal.aborted || (error instanceof AppError && error.code === 'log.fenced')) {
    alarms.partitionMoved(topic, partition);
    return;
  }
  const code = error instanceof AppError ? error.code : 'the database failed';
  alarms.partitionStopped(topic, partition, code);
  signal.addEventListener('abort', () => alarms.partitionMoved(topic, partition), { once: true });
}

/** @throws AppError `budget.newer_event` for a version that this release does not know */
function decodeAll<T>(
  records: readonly LogRecord[],
  decode: (record: LogRecord) => T | null,
): DecodedRecords<T> {
  const values: T[] = [];
  const letters: DeadLetter[] = [];
  for (const record of records) {
    try {
      const value = decode(record);
      if (value !== null) values.push(value);
    } catch (error) {
      if (!(error instanceof AppError) || error.kind !== 'invalid') throw error;
      const { code: faultClass, publicMessage } = error;
      letters.push({ record, faultClass, error: publicMessage, booked: false });
    }
  }
  return { values, letters };
}
