import type { ClickHouseOperation, ClickHouseParams } from '#libs/platform/clickhouse';
import { hourOf, type UsageFilter } from '#libs/usage/core';

/** A statement with its values. */
export interface BoundQuery extends ClickHouseOperation {
  readonly params: ClickHouseParams;
}

/** Parts of a statement with their values. */
export interface Sources {
  readonly texts: readonly string[];
  readonly params: ClickHouseParams;
}

/**
 * The hours in which a batch occurred bound which seals are read. Hours are compared as whole seconds:
 * a comparison with a finer type converts every row, and passes by the order of the table.
 */
export const SEAL_HOURS =
  "last_hour >= toDateTime({seal_start_s:UInt32}, 'UTC')" +
  " AND first_hour < toDateTime({seal_end_s:UInt32}, 'UTC')";

/** The values of `SEAL_HOURS`. */
export function sealBounds({ startMs, endMs }: UsageFilter): ClickHouseParams {
  return { seal_start_s: toSecond(hourOf(startMs)), seal_end_s: toSecond(endMs) };
}

/** Holds for rows of sealed batches. */
export function sealed(): string {
  return `batch_id IN (SELECT batch_id FROM batch_seal WHERE ${SEAL_HOURS})`;
}

/** The last second of the type DateTime. */
const MAX_SECOND = 2 ** 32 - 1;

/** The second at or after a time, within what a column of hours can hold: 1970 to 2106. */
export function toSecond(timeMs: number): number {
  return Math.min(Math.max(Math.ceil(timeMs / 1000), 0), MAX_SECOND);
}
