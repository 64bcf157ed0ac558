import { minPicoUsd, picoUsd, type PicoUsd } from '#libs/kernel';

/** Remainders up to $0.0001 count as nothing. @source docs/budgets.md, "Exhausted" */
const NEGLIGIBLE_PICO_USD = picoUsd(100_000_000n);

/**
 * Whether a budget is spent: limit - settled <= min($0.0001, limit / 1000). The one definition used by
 * admission, enforcement and every reader; holds play no part in it.
 */
export function isExhausted(limitPicoUsd: PicoUsd, settledPicoUsd: PicoUsd): boolean {
  const tolerance = minPicoUsd(NEGLIGIBLE_PICO_USD, picoUsd(limitPicoUsd / 1000n));
  return limitPicoUsd - settledPicoUsd <= tolerance;
}
