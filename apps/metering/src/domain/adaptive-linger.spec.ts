/** Guarantee: batches wait longer only while they keep the ledger busy, and never beyond a second. */
import { expect, test } from '@jest/globals';

import { AdaptiveLinger } from './adaptive-linger.js';

/** The waits after each of some seconds in which batches took these shares of the time. */
function waits(leastMs: number, shares: readonly number[]): readonly number[] {
  const linger = new AdaptiveLinger(leastMs);
  expect(linger.waitAt(0)).toBe(leastMs);
  return shares.map((share, second) => {
    linger.note(share * 1_000);
    return linger.waitAt((second + 1) * 1_000);
  });
}

test('the wait doubles each second in which batches take more than 30 %, up to a second', () => {
  expect(waits(250, [0.31, 0.5, 4, 4])).toEqual([500, 1_000, 1_000, 1_000]);
  expect(waits(100, [1, 1, 1, 1, 1])).toEqual([200, 400, 800, 1_000, 1_000]);
});

test('the wait halves when there is little to do, down to what was configured', () => {
  expect(waits(250, [1, 1, 0.1, 0, 0])).toEqual([500, 1_000, 500, 250, 250]);
});

test('a load that half as many batches carry does not make the wait swing', () => {
  expect(waits(250, [0.4, 0.2, 0.2, 0.16])).toEqual([500, 500, 500, 500]);
});

test('who is told never to wait never waits; a longer wait than a second stays as configured', () => {
  expect(waits(0, [1, 1, 1])).toEqual([0, 0, 0]);
  expect(waits(2_000, [1, 0])).toEqual([2_000, 2_000]);
});

test('the share is that of the whole time since the wait was chosen', () => {
  const linger = new AdaptiveLinger(250);
  linger.waitAt(0);
  linger.note(1_000);
  expect(linger.waitAt(999)).toBe(250);
  expect(linger.waitAt(10_000)).toBe(250);
  linger.note(301);
  expect(linger.waitAt(11_000)).toBe(500);
});
