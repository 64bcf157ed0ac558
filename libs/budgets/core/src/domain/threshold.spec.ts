import { expect, test } from '@jest/globals';

import { picoUsd } from '#libs/kernel';

import { hasReached } from './threshold.js';

test.each([
  [0.8, 1_000n, 799n, 800n],
  [1, 1_000n, 999n, 1_000n],
  [0.1, 3n, 0n, 1n],
  [1e-7, 10_000_000n, 0n, 1n],
  [2.5e-7, 100_000_000n, 24n, 25n],
])('a share of %s of %s is not reached at %s and is reached at %s', (share, limit, below, at) => {
  expect(hasReached(share, picoUsd(limit), picoUsd(below))).toBe(false);
  expect(hasReached(share, picoUsd(limit), picoUsd(at))).toBe(true);
});

test('nothing spent reaches nothing, not even of a limit of zero', () => {
  expect(hasReached(0.5, picoUsd(0n), picoUsd(0n))).toBe(false);
  expect(hasReached(0.5, picoUsd(0n), picoUsd(1n))).toBe(true);
});

test.each([Number.NaN, Number.POSITIVE_INFINITY, -0.5])('%s is no share', (share) => {
  expect(() => hasReached(share, picoUsd(1n), picoUsd(1n))).toThrow(RangeError);
});
