import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { picoUsd } from '#libs/kernel';

import { leastOf, outputPaidBy, type Bound } from './bound.js';

const bound = fc
  .record({
    maxOutputTokens: fc.integer({ min: 1, max: 100_000 }),
    choices: fc.integer({ min: 1, max: 8 }),
    input: fc.bigInt({ min: 0n, max: 10n ** 12n }),
    perToken: fc.bigInt({ min: 0n, max: 10n ** 9n }),
  })
  .map(({ maxOutputTokens, choices, input, perToken }): Bound => ({
    maxInputTokens: 1,
    maxOutputTokens,
    clientLimit: null,
    choices,
    inputPartPicoUsd: picoUsd(input),
    perOutputTokenPicoUsd: picoUsd(perToken),
    totalPicoUsd: picoUsd(input + perToken * BigInt(maxOutputTokens)),
    isCeiling: false,
  }));

describe('the output limit', () => {
  test('never costs more than the amount, and one token more would', () => {
    fc.assert(
      fc.property(bound, fc.double({ min: 0, max: 1, noNaN: true }), (b, share) => {
        const least = leastOf(b);
        const room = b.totalPicoUsd - least;
        const amount = picoUsd(least + (room * BigInt(Math.floor(share * 1_000))) / 1_000n);
        const tokens = outputPaidBy(b, amount);
        const costOf = (n: number) => b.inputPartPicoUsd + b.perOutputTokenPicoUsd * BigInt(n);
        expect(costOf(tokens)).toBeLessThanOrEqual(amount);
        if (tokens < b.maxOutputTokens) expect(costOf(tokens + 1)).toBeGreaterThan(amount);
        expect(tokens).toBeGreaterThanOrEqual(Math.min(16, b.maxOutputTokens));
      }),
    );
  });

  test('is the whole one for the whole amount', () => {
    fc.assert(
      fc.property(bound, (b) => {
        expect(outputPaidBy(b, b.totalPicoUsd)).toBe(b.maxOutputTokens);
      }),
    );
  });
});
