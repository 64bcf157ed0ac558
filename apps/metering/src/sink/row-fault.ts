import type { LogRecord } from '#libs/event-log/core';
import { AppError, type Clock } from '#libs/kernel';

import type { PlannedBatch } from '../domain/plan-batch.js';
import type { OwnedPartition } from './owned-partition.js';

/**
 * Engine codes that speak of the content of a row: the same row is refused for ever. A missing table
 * or column, a wrong password, a full disk are not among them; those are waited for.
 * @source ClickHouse source, src/Common/ErrorCodes.cpp
 */
const ROW_CODES: ReadonlySet<string> = new Set([
  '6',
  '25',
  '26',
  '27',
  '38',
  '41',
  '53',
  '69',
  '70',
  '72',
  '117',
  '130',
  '131',
  '321',
  '349',
  '376',
  '407',
  '467',
  '469',
]);

/** Most records parked for their rows within the window; more of them are a fault of the table. */
const MOST_REFUSALS = 20;
/** Milliseconds. */
const REFUSAL_WINDOW_MS = 600_000;

/** Whether the store refused an insert for the content of one of its rows. */
export function isRowFault(error: unknown): boolean {
  if (!(error instanceof AppError) || error.code !== 'clickhouse.failed') return false;
  const { engineCode } = error.details as { readonly engineCode?: unknown };
  return typeof engineCode === 'string' && ROW_CODES.has(engineCode);
}

/** What to try after an insert was refused for a row. */
export interface NarrowedBatch {
  readonly records: readonly LogRecord[];
  /** The one record left, when it alone was refused. */
  readonly refused: bigint | null;
  /** The one record left, when a row at its hold was refused as well. */
  readonly unbooked: bigint | null;
}

/**
 * Finds the row that the store refuses by halving: the head of a refused batch is tried first, then
 * the half of what is left under suspicion, until one record stands alone and is parked.
 */
export class RowFaultSearch {
  /** Last offset under suspicion, by `topic/partition`. */
  private readonly suspectEnds = new Map<string, bigint>();
  private readonly refusedAtMs: number[] = [];

  constructor(private readonly clock: Clock) {}

  /** The records to try next: all of them, or half of those under suspicion. */
  head(owned: OwnedPartition, records: readonly LogRecord[]): readonly LogRecord[] {
    const end = this.suspectEnds.get(keyOf(owned));
    if (end === undefined) return records;
    const suspects = records.filter(({ offset }) => offset <= end);
    if (suspects.length > 0) return half(suspects);
    this.suspectEnds.delete(keyOf(owned));
    return records;
  }

  /**
   * What to try instead of a refused batch.
   * @throws AppError `metering.rows_refused` after 20 parked records in 10 minutes
   */
  narrow(
    owned: OwnedPartition,
    plan: PlannedBatch,
    records: readonly LogRecord[],
    cause: unknown,
  ): NarrowedBatch {
    const tried = records.filter(({ offset }) => offset <= plan.range.last);
    const alone = tried.length === 1 ? tried[0]!.offset : null;
    if (alone === null) {
      this.suspectEnds.set(keyOf(owned), plan.range.last);
      return { records: half(tried), refused: null, unbooked: null };
    }
    this.suspectEnds.delete(keyOf(owned));
    this.countRefusal(cause);
    const isBooked = plan.refused.includes(alone);
    return {
      records: tried,
      refused: isBooked ? null : alone,
      unbooked: isBooked ? alone : null,
    };
  }

  private countRefusal(cause: unknown): void {
    const nowMs = this.clock.monotonicMs();
    const isRecent = (atMs: number): boolean => nowMs - atMs < REFUSAL_WINDOW_MS;
    const recent = this.refusedAtMs.splice(0).filter(isRecent);
    this.refusedAtMs.push(...recent);
    if (recent.length < MOST_REFUSALS) {
      this.refusedAtMs.push(nowMs);
      return;
    }
    throw new AppError({
      code: 'metering.rows_refused',
      kind: 'internal',
      publicMessage: 'internal error',
      internalMessage: 'the ledger refuses row after row; nothing more is parked for it',
      cause,
    });
  }
}

function half(records: readonly LogRecord[]): readonly LogRecord[] {
  return records.slice(0, Math.ceil(records.length / 2));
}

function keyOf({ topic, partition }: OwnedPartition): string {
  return `${topic}/${partition}`;
}
