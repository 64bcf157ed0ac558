import { isSameDigest, type BatchDigest } from '#libs/usage/core';

/** What to do about a batch in the store, given its plan. */
export type Repair =
  /** All rows are there. */
  | 'none'
  /** No row is there: insert all under the next token. */
  | 'insert_all'
  /** Some rows are there: insert those whose event id is missing. */
  | 'insert_missing'
  /** Too many rows, or other rows: remove the batch, then insert it anew. */
  | 'replace';

/**
 * Compares what the store holds of a batch with its plan. An answer of the store to a repeated
 * insert proves nothing; this comparison does.
 */
export function repairFor(planned: BatchDigest, stored: BatchDigest): Repair {
  if (isSameDigest(planned, stored)) return 'none';
  if (stored.rows === 0) return 'insert_all';
  return stored.rows < planned.rows ? 'insert_missing' : 'replace';
}
