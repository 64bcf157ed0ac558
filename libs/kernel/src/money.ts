import { AppError } from './app-error.js';

/**
 * An amount of money as a whole number of pico-dollars (1 pUSD = 1e-12 USD), signed.
 * Names of values end in `PicoUsd`. Never a `number`: 2^53 pUSD is only $9,007.
 */
export type PicoUsd = bigint & { readonly __brand: 'PicoUsd' };

/** Fraction digits of a dollar amount that pico-dollars can express. */
const USD_FRACTION_DIGITS = 12;

/** Longest decimal text that is read as an amount, characters; bounds the work on hostile input. */
const MAX_AMOUNT_CHARS = 64;

/** Nothing, in pUSD. */
export const ZERO_PICO_USD = 0n as PicoUsd;

/** Brands a whole number of pico-dollars; it changes no digit. */
export function picoUsd(value: bigint): PicoUsd {
  return value as PicoUsd;
}

/**
 * Reads a decimal dollar amount exactly.
 * @param text optional minus, digits, optional fraction of at most 12 digits; no exponent, no spaces
 * @returns pUSD
 * @throws AppError `money.malformed` for any other text
 */
export function parseUsd(text: string): PicoUsd {
  const match = text.length <= MAX_AMOUNT_CHARS ? /^(-?)(\d+)(?:\.(\d{1,12}))?$/.exec(text) : null;
  if (match === null) {
    throw new AppError({
      code: 'money.malformed',
      kind: 'invalid',
      publicMessage: 'an amount is a decimal with at most 12 fraction digits and no exponent',
    });
  }
  const [, sign, whole, fraction = ''] = match;
  const digits = BigInt(`${whole}${fraction.padEnd(USD_FRACTION_DIGITS, '0')}`);
  return picoUsd(sign === '-' ? -digits : digits);
}

/**
 * Prints an amount as a decimal dollar string: no exponent, no trailing zeros, at most 12 fraction
 * digits. `parseUsd(formatUsd(x)) === x` for every x.
 */
export function formatUsd(amountPicoUsd: PicoUsd): string {
  const negative = amountPicoUsd < 0n;
  const digits = (negative ? -amountPicoUsd : amountPicoUsd)
    .toString()
    .padStart(USD_FRACTION_DIGITS + 1, '0');
  const whole = digits.slice(0, -USD_FRACTION_DIGITS);
  const fraction = digits.slice(-USD_FRACTION_DIGITS).replace(/0+$/, '');
  return `${negative ? '-' : ''}${whole}${fraction === '' ? '' : `.${fraction}`}`;
}

/**
 * Reads an integer count of pico-dollars, the form of `*_pusd` members in events and RPC.
 * @throws AppError `money.malformed` when the text is not a plain integer
 */
export function parsePicoUsd(text: string): PicoUsd {
  if (text.length > MAX_AMOUNT_CHARS || !/^-?\d+$/.test(text)) {
    throw new AppError({
      code: 'money.malformed',
      kind: 'invalid',
      publicMessage: 'an amount in pico-dollars is an integer string',
    });
  }
  return picoUsd(BigInt(text));
}

/**
 * The one rounding of the product: a quotient rounded half to even.
 * @param numerator any integer
 * @param denominator > 0
 */
export function divideHalfEven(numerator: bigint, denominator: bigint): bigint {
  if (denominator <= 0n) throw new RangeError('the denominator must be positive');
  const negative = numerator < 0n;
  const magnitude = negative ? -numerator : numerator;
  const quotient = magnitude / denominator;
  const twice = (magnitude % denominator) * 2n;
  const roundUp = twice > denominator || (twice === denominator && quotient % 2n === 1n);
  const rounded = roundUp ? quotient + 1n : quotient;
  return negative ? -rounded : rounded;
}

/** The smaller of two amounts. */
export function minPicoUsd(a: PicoUsd, b: PicoUsd): PicoUsd {
  return a < b ? a : b;
}

/** The larger of two amounts. */
export function maxPicoUsd(a: PicoUsd, b: PicoUsd): PicoUsd {
  return a > b ? a : b;
}
