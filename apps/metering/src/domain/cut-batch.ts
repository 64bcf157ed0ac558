import { parseEventType } from '#libs/events';
import type { LogRecord } from '#libs/event-log/core';
import { monthOf } from '#libs/usage/core';

/** The newest major version this code reads, per event name. */
const KNOWN_MAJORS: Readonly<Record<string, number>> = {
  'request.completed': 1,
  'emitter.lost': 1,
  'request.rejected': 1,
};

/**
 * Whether a record has a schema that only newer code can read. It must not be skipped nor parked:
 * its partition waits for the newer code.
 */
export function isNewerMajor(record: LogRecord): boolean {
  const type = parseEventType(record.headers['ce_type'] ?? '');
  const known = type === null ? undefined : KNOWN_MAJORS[type.name];
  return type !== null && known !== undefined && type.major > known;
}

/** Most records of one batch: while it keeps up, and when it is far behind; a batch is one insert. */
const MOST_RECORDS = 5_000;
const MOST_RECORDS_BEHIND = 50_000;
/** Age of the oldest record from which the sink is behind, milliseconds. */
const BEHIND_MS = 10_000;
/** Most bytes of one insert; the ledger takes a body of up to 10 MB as one block. */
const MOST_INSERT_BYTES = 9_500_000;
/** What a row is longer than the value of its record: names of columns, batch, time of recording. */
const ROW_OVERHEAD_BYTES = 256;

/** Most records of a batch, by the age of the oldest one in hand. @param nowMs milliseconds UTC */
export function mostRecords(oldest: LogRecord, nowMs: number): number {
  return nowMs - oldest.appendedAtMs > BEHIND_MS ? MOST_RECORDS_BEHIND : MOST_RECORDS;
}

/**
 * The longest head of these records that may be one batch: at most `maxRecords` and 9.5 MB of insert,
 * all recorded in one month (UTC), none of a newer major version. Empty only when the first record is
 * of such a version.
 */
export function cutBatch(records: readonly LogRecord[], maxRecords: number): readonly LogRecord[] {
  const first = records[0];
  if (first === undefined) return [];
  const month = monthOf(first.appendedAtMs);
  let [end, bytes] = [0, 0];
  for (const record of records) {
    if (end >= maxRecords || isNewerMajor(record)) break;
    if (monthOf(record.appendedAtMs) !== month) break;
    bytes += record.value.length + ROW_OVERHEAD_BYTES;
    if (bytes > MOST_INSERT_BYTES && end > 0) break;
    end += 1;
  }
  return records.slice(0, end);
}
