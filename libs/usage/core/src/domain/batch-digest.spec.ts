import { expect, test } from '@jest/globals';
import fc from 'fast-check';

import { monthOf, xorOfEventIds } from './batch-digest.js';

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
