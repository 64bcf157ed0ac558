import { formatUsd, messageOf, parseUsd } from '#libs/kernel';

import { usageFailure } from './failure.js';

/**
 * Checks a dollar amount and gives it in the one spelling of the API, without loss.
 * @throws Failure 2 for anything but a plain decimal with at most 12 fraction digits
 */
export function dollars(optionName: string, text: string): string {
  try {
    return formatUsd(parseUsd(text));
  } catch (error) {
    throw usageFailure(`--${optionName} "${text}": ${messageOf(error)}, for example 25 or 0.50`);
  }
}

/**
 * Checks a whole number.
 * @throws Failure 2 outside the bounds
 */
export function wholeNumber(optionName: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  throw usageFailure(`--${optionName} "${text}" is not a whole number from ${least} to ${most}`);
}
