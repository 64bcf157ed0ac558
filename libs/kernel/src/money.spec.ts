import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import {
  divideHalfEven,
  formatUsd,
  maxPicoUsd,
  minPicoUsd,
  parsePicoUsd,
  parseUsd,
  picoUsd,
} from './money.js';

const amounts = fc.bigInt({ min: -(10n ** 26n), max: 10n ** 26n }).map(picoUsd);

describe('money', () => {
  test('every amount survives printing and reading', () => {
    fc.assert(fc.property(amounts, (amount) => parseUsd(formatUsd(amount)) === amount));
    fc.assert(fc.property(amounts, (amount) => parsePicoUsd(amount.toString()) === amount));
  });

  test('a printed amount has no exponent, no trailing zero and at most 12 fraction digits', () => {
    const form = /^-?\d+(\.\d{0,11}[1-9])?$/;
    fc.assert(fc.property(amounts, (amount) => form.test(formatUsd(amount))));
  });

  test.each([
    ['0', 0n],
    ['0.0125', 12_500_000_000n],
    ['0.00000000013', 130n],
    ['-1.5', -1_500_000_000_000n],
    ['9007.199254740993', 9_007_199_254_740_993n],
  ])('%s dollars are %s pico-dollars', (text, amount) => {
    expect(parseUsd(text)).toBe(amount);
    expect(formatUsd(picoUsd(amount))).toBe(text);
  });

  test.each([
    '',
    ' 1',
    '1e3',
    '.5',
    '5.',
    '+1',
    '1.0000000000001',
    '0x1',
    '1,5',
    'NaN',
    '9'.repeat(65),
  ])('the text %j is refused', (text) => {
    expect(() => parseUsd(text)).toThrow(expect.objectContaining({ code: 'money.malformed' }));
  });

  test.each(['', '1.5', '1n', '--1', '9'.repeat(65)])('%j is no count of pico-dollars', (text) => {
    expect(() => parsePicoUsd(text)).toThrow(expect.objectContaining({ code: 'money.malformed' }));
  });

  test.each([
    [5n, 2n, 2n],
    [7n, 2n, 4n],
    [-5n, 2n, -2n],
    [-7n, 2n, -4n],
    [8n, 3n, 3n],
    [7n, 3n, 2n],
    [0n, 9n, 0n],
  ])('%s / %s rounds half to even: %s', (numerator, denominator, expected) => {
    expect(divideHalfEven(numerator, denominator)).toBe(expected);
  });

  test('rounding is never off by more than half', () => {
    const values = fc.tuple(fc.bigInt(-(10n ** 30n), 10n ** 30n), fc.bigInt(1n, 10n ** 12n));
    fc.assert(
      fc.property(values, ([numerator, denominator]) => {
        const error = numerator - divideHalfEven(numerator, denominator) * denominator;
        return (error < 0n ? -error : error) * 2n <= denominator;
      }),
    );
    expect(() => divideHalfEven(1n, 0n)).toThrow(RangeError);
  });

  test('the smaller and the larger of two amounts', () => {
    expect(minPicoUsd(picoUsd(1n), picoUsd(2n))).toBe(1n);
    expect(maxPicoUsd(picoUsd(1n), picoUsd(2n))).toBe(2n);
  });
});
