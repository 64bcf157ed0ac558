import { hash } from 'node:crypto';

import { uuidHex, uuidOfHex, type RequestId } from '#libs/kernel';

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
  const input = Buffer.alloc(24);
  input.write('usage', 0, 'latin1');
  input.write(uuidHex(requestId), 5, 'hex');
  input.writeUInt16BE(attempt, 21);
  input.writeUInt8(kind, 23);
  // One shot and as text: every request has one, and a hash object costs four times as much.
  return uuidOfHex(hash('sha256', input, 'hex'));
}
