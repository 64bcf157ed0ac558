import { createHash } from 'node:crypto';

import { formatUuid, uuidBytes, type RequestId } from '#libs/kernel';

/** What an event of an attempt is: its terminal record, or its refusal before dispatch. */
export const EVENT_KIND = { completed: 1, rejected: 2 } as const;

/**
 * The identity of an attempt's event for the life of the ledger: the first 128 bits of
 * SHA-256("usage", request id, attempt, kind) in the text form of a UUID. A recovery after a crash
 * computes the same value as the live path.
 * @param attempt 1 for the first dispatch, at most 65535
 */
export function eventIdOf(
  requestId: RequestId,
  attempt: number,
  kind: (typeof EVENT_KIND)[keyof typeof EVENT_KIND],
): string {
  const tail = Buffer.alloc(3);
  tail.writeUInt16BE(attempt, 0);
  tail.writeUInt8(kind, 2);
  const digest = createHash('sha256')
    .update('usage')
    .update(uuidBytes(requestId))
    .update(tail)
    .digest();
  return formatUuid(digest);
}
