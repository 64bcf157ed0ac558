import { picoUsd, toRfc3339, uuidBytes, ZERO_PICO_USD } from '#libs/kernel';

import type { BatchDigest } from '../ports/usage-store.port.js';
import type { RejectionRow, UsageRow } from '../usage-row.js';

/**
 * XOR over the first 8 bytes of each event id, little-endian: a figure that says whether two sets
 * of rows are the same without listing them, computable before the insert. The order of the ids
 * does not matter; no ids give 0. In SQL: `groupBitXor(reinterpretAsUInt64(UUIDToNum(event_id)))`.
 * @param eventIds UUID text, dashed
 * @returns unsigned 64 bit
 */
export function xorOfEventIds(eventIds: Iterable<string>): bigint {
  let xor = 0n;
  for (const eventId of eventIds) xor ^= uuidBytes(eventId).readBigUInt64LE(0);
  return xor;
}

/** What the store must hold of these usage rows once they are in. */
export function digestOfUsage(rows: readonly UsageRow[]): BatchDigest {
  return {
    rows: rows.length,
    costPicoUsd: picoUsd(rows.reduce((sum, row) => sum + row.costPicoUsd, 0n)),
    chargePicoUsd: picoUsd(rows.reduce((sum, row) => sum + row.chargePicoUsd, 0n)),
    xor64: xorOfEventIds(rows.map((row) => row.eventId)),
  };
}

/** The same for refusals, which cost nothing. */
export function digestOfRejections(rows: readonly RejectionRow[]): BatchDigest {
  return {
    rows: rows.length,
    costPicoUsd: ZERO_PICO_USD,
    chargePicoUsd: ZERO_PICO_USD,
    xor64: xorOfEventIds(rows.map((row) => row.eventId)),
  };
}

/** Whether the store holds what was planned. */
export function isSameDigest(a: BatchDigest, b: BatchDigest): boolean {
  return (
    a.rows === b.rows &&
    a.costPicoUsd === b.costPicoUsd &&
    a.chargePicoUsd === b.chargePicoUsd &&
    a.xor64 === b.xor64
  );
}

/** The month of a time in UTC as YYYYMM: the partition a row recorded at that time lies in. */
export function monthOf(timeMs: number): number {
  const text = toRfc3339(timeMs);
  return Number(text.slice(0, 4)) * 100 + Number(text.slice(5, 7));
}
