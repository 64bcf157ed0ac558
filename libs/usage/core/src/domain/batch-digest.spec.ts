import { expect, test } from '@jest/globals';
import fc from 'fast-check';

import { picoUsd } from '#libs/kernel';

import type { RejectionRow, UsageRow } from '../usage-row.js';
import {
  digestOfRejections,
  digestOfUsage,
  isSameDigest,
  monthOf,
  xorOfEventIds,
} from './batch-digest.js';

const uuid = fc.uuid();

test('the XOR of no ids is 0 and of an id twice is 0', () => {
  fc.assert(
    fc.property(uuid, (id) => {
      expect(xorOfEventIds([])).toBe(0n);
      expect(xorOfEventIds([id, id])).toBe(0n);
    }),
  );
});

test('the XOR takes the first 8 bytes, least significant first', () => {
  expect(xorOfEventIds(['01020304-0506-0708-ffff-ffffffffffff'])).toBe(0x0807060504030201n);
});

test('the XOR does not depend on the order and stays within 64 bits', () => {
  fc.assert(
    fc.property(fc.array(uuid), (ids) => {
      const xor = xorOfEventIds(ids);
      expect(xorOfEventIds(ids.toReversed())).toBe(xor);
      expect(xor >= 0n && xor < 1n << 64n).toBe(true);
    }),
  );
});

test('a month changes at midnight UTC of its first day', () => {
  expect(monthOf(Date.UTC(2026, 11, 1) - 1)).toBe(202611);
  expect(monthOf(Date.UTC(2026, 11, 1))).toBe(202612);
  expect(monthOf(Date.UTC(2027, 0, 1))).toBe(202701);
});

const ROW = {
  eventId: '01020304-0506-0708-ffff-ffffffffffff',
  costPicoUsd: picoUsd(2n),
  chargePicoUsd: picoUsd(3n),
} as UsageRow;

test('the digest of usage is its count, its sums and the XOR of its ids', () => {
  const other = { ...ROW, eventId: 'ffffffff-ffff-ffff-0000-000000000000' };
  expect(digestOfUsage([ROW, other])).toEqual({
    rows: 2,
    costPicoUsd: 4n,
    chargePicoUsd: 6n,
    xor64: 0x0807060504030201n ^ 0xffff_ffff_ffff_ffffn,
  });
  expect(digestOfUsage([])).toEqual({ rows: 0, costPicoUsd: 0n, chargePicoUsd: 0n, xor64: 0n });
});

test('the digest of refusals has no money', () => {
  const refusal = { eventId: ROW.eventId } as RejectionRow;
  expect(digestOfRejections([refusal])).toEqual({
    ...digestOfUsage([ROW]),
    costPicoUsd: 0n,
    chargePicoUsd: 0n,
  });
});

test('a row missing, doubled, replaced or differently charged makes another digest', () => {
  const whole = digestOfUsage([ROW]);
  expect(isSameDigest(whole, digestOfUsage([{ ...ROW }]))).toBe(true);
  const others: UsageRow[][] = [
    [],
    [ROW, ROW],
    [{ ...ROW, eventId: 'ffffffff-ffff-ffff-0000-000000000000' }],
    [{ ...ROW, costPicoUsd: picoUsd(1n) }],
    [{ ...ROW, chargePicoUsd: picoUsd(1n) }],
  ];
  for (const rows of others) expect(isSameDigest(whole, digestOfUsage(rows))).toBe(false);
});
