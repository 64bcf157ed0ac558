import { expect, test } from '@jest/globals';
import fc from 'fast-check';

import { formatUsd, parseUsd, picoUsd } from '#libs/kernel';

import { usdJsonNumber, usdOfNumber } from './decimal-number.js';

test('an amount of up to 15 digits is read exactly as it was written', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 999_999_999 }),
      fc.integer({ min: 0, max: 999_999 }),
      (whole, micro) => {
        const text = `${whole}.${String(micro).padStart(6, '0')}`;
        expect(usdOfNumber(Number(text))).toBe(parseUsd(text));
      },
    ),
  );
});

test('small amounts that print with an exponent are read; finer ones are refused', () => {
  expect(usdOfNumber(1e-7)).toBe(parseUsd('0.0000001'));
  expect(usdOfNumber(1.5e-11)).toBe(parseUsd('0.000000000015'));
  expect(usdOfNumber(1e-13)).toBeNull();
  expect(usdOfNumber(0.1 + 0.2)).toBeNull();
});

test('what is no finite number within bounds is refused', () => {
  for (const value of [NaN, Infinity, 1e10, 1e21, '5', null, undefined, {}]) {
    expect(usdOfNumber(value)).toBeNull();
  }
  expect(usdOfNumber(-1)).toBe(parseUsd('-1'));
});

test('an amount is printed as a JSON number digit by digit', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: -(10n ** 26n), max: 10n ** 26n }), (amount) => {
      const printed = JSON.stringify({ spent: usdJsonNumber(picoUsd(amount)) });
      expect(printed).toBe(`{"spent":${formatUsd(picoUsd(amount))}}`);
    }),
  );
});
