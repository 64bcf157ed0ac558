const WINDOW_PATTERN = /^(?:[0-9]{1,5}(?:h|m|s|ms)){1,4}$/;

const UNIT_MS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1_000, ms: 1 };

/**
 * Reads a time window such as `1h`, `1m` or `1h30m`: the sum of one to four parts.
 * @returns milliseconds, > 0; null for any other text, also for a sum of zero
 */
export function parseTimeWindow(text: string): number | null {
  if (!WINDOW_PATTERN.test(text)) return null;
  let totalMs = 0;
  for (const [, count, unit] of text.matchAll(/([0-9]+)(ms|h|m|s)/g)) {
    totalMs += Number(count) * UNIT_MS[unit!]!;
  }
  return totalMs > 0 ? totalMs : null;
}
