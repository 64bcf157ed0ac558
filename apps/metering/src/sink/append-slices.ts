import type { EventLog, LogRecordInput } from '#libs/event-log/core';

/** Largest append, bytes of values; a log takes 64 MiB at once, and a backlog can be larger. */
const MAX_SLICE_BYTES = 8 * 1024 * 1024;

/**
 * Appends records in the given order, in as many calls as their size asks for, one at a time. When
 * it rejects, a head of the records may be there: the same records are sent again.
 */
export async function appendInSlices(
  log: Pick<EventLog, 'append'>,
  records: readonly LogRecordInput[],
): Promise<void> {
  let slice: LogRecordInput[] = [];
  let sizeBytes = 0;
  for (const record of records) {
    if (slice.length > 0 && sizeBytes + record.value.length > MAX_SLICE_BYTES) {
      await log.append(slice);
      slice = [];
      sizeBytes = 0;
    }
    slice.push(record);
    sizeBytes += record.value.length;
  }
  await log.append(slice);
}
