import { createHash } from 'node:crypto';

import type { LogRecord } from '#libs/event-log/core';

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function uint64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
}

/** SHA-256 over the values of the records in offset order, each preceded by its length. */
export function inputSha256(records: readonly LogRecord[]): Buffer {
  const hash = createHash('sha256');
  for (const { value } of records) hash.update(uint32(value.length)).update(value);
  return hash.digest();
}

/** What a batch covers. */
export interface BatchRange {
  readonly topic: string;
  readonly partition: number;
  /** Inclusive. */
  readonly first: bigint;
  /** Inclusive. */
  readonly last: bigint;
}

/**
 * The identity of a batch: the same range of the same bytes has the same id, whoever forms it.
 * @returns 64 hex digits
 */
export function batchIdOf(range: BatchRange, input: Buffer): string {
  return createHash('sha256')
    .update(createHash('sha256').update(range.topic).digest().subarray(0, 16))
    .update(uint32(range.partition))
    .update(uint64(range.first))
    .update(uint64(range.last))
    .update(input)
    .digest('hex');
}

/**
 * The deduplication token of a further try: `<batch id>:r<n>`, or with the hash of the rows when
 * only some are inserted. A token is never used twice, because the store may know one whose rows it
 * lost.
 * @param last the token of the latest try, from which n follows
 */
export function nextToken(batchId: string, last: string, someEventIds?: readonly string[]): string {
  const tries = Number(/:r(\d+)/.exec(last)?.[1] ?? '0') + 1;
  if (someEventIds === undefined) return `${batchId}:r${tries}`;
  const set = createHash('sha256').update(someEventIds.join('\n')).digest('hex');
  return `${batchId}:r${tries}:${set}`;
}
