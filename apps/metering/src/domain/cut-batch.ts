import { parseEventType } from '#libs/events';
import type { LogRecord } from '#libs/event-log/core';
import { monthOf } from '#libs/usage/core';

/** The newest major version this code reads, per event name. */
const KNOWN_MAJORS: Readonly<Record<string, number>> = {
  'request.completed': 1,
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

/**
 * The longest head of these records that may be one batch: at most `maxRecords`, all recorded in one
 * month (UTC), none of a newer major version. Empty only when the first record is of such a version.
 */
export function cutBatch(records: readonly LogRecord[], maxRecords: number): readonly LogRecord[] {
  const first = records[0];
  if (first === undefined) return [];
  const month = monthOf(first.appendedAtMs);
  let end = 0;
  for (const record of records) {
    if (end >= maxRecords || isNewerMajor(record)) break;
    if (monthOf(record.appendedAtMs) !== month) break;
    end += 1;
  }
  return records.slice(0, end);
}
