import { formatUsd, parseUsd, type PicoUsd } from '#libs/kernel';

/** Most significant digits that a JSON number keeps exactly through its binary form. */
const EXACT_DIGITS = 15;

/** Largest amount that is taken, USD. */
const MOST_USD = 9_999_999_999;

/**
 * Reads a dollar amount that came as a JSON number.
 * @returns null when it is no amount, is too large, or has more digits than are read exactly
 */
export function usdOfNumber(value: unknown): PicoUsd | null {
  if (typeof value !== 'number' || !(Math.abs(value) <= MOST_USD)) return null;
  const text = plainDecimal(value);
  const digits = text.replace(/[-.]/g, '').replace(/^0+/, '');
  if (digits.length > EXACT_DIGITS || !/^-?\d+(\.\d{1,12})?$/.test(text)) return null;
  return parseUsd(text);
}

/** The shortest decimal text of a number below 1e21, without exponent. */
function plainDecimal(value: number): string {
  const match = /^(-?)(\d)(?:\.(\d+))?e-(\d+)$/.exec(String(value));
  if (match === null) return String(value);
  const [, sign, whole, fraction = '', exponent] = match;
  return `${sign}0.${'0'.repeat(Number(exponent) - 1)}${whole}${fraction}`;
}

const { rawJSON } = JSON as unknown as { rawJSON(this: void, text: string): object };

/** An amount as a JSON number with its exact digits, without exponent or trailing zeros. */
export function usdJsonNumber(amountPicoUsd: PicoUsd): object {
  return rawJSON(formatUsd(amountPicoUsd));
}
