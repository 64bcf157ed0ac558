import type { UsageCell, UsageVector } from '../usage-vector.js';
import { USAGE_TABLES, type UsageFlavour, type UsageSide } from './usage-table.js';

/** What a usage object says, once checked. */
export type VectorResult =
  | {
      readonly outcome: 'measured';
      readonly vector: UsageVector;
      /** `cache_split_unknown`, `vector_mismatch`; empty as a rule. */
      readonly flags: readonly string[];
    }
  /** No usable headline counts: nothing is known, which is not zero. */
  | { readonly outcome: 'missing' }
  /** Figures nobody should be charged by; the attempt settles at its hold. */
  | { readonly outcome: 'quarantined'; readonly reason: string };

type Counts = Partial<Record<UsageCell, number>>;

/** A count, null when not reported, -1 when it is no count. */
function countAt(object: unknown, member: string): number | null {
  const value = isObject(object) && Object.hasOwn(object, member) ? object[member] : null;
  if (value === null || value === undefined) return null;
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : -1;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Turns a provider's usage object into the additive vector: each token in exactly one cell, the sum
 * equal to the provider's own total. Usage is read, not trusted: a negative, fractional, textual or
 * too large count quarantines the whole object. `null` is unknown; an explicit 0 stays 0.
 */
export function toVector(flavour: UsageFlavour, rawUsage: unknown): VectorResult {
  const table = USAGE_TABLES[flavour];
  if (!isObject(rawUsage)) return { outcome: 'missing' };
  const total = countAt(rawUsage, table.total);
  const known = {
    input: countAt(rawUsage, table.input.headline),
    output: countAt(rawUsage, table.output.headline),
  };
  if (total === -1 || known.input === -1 || known.output === -1) return malformed();
  const headlines = completeHeadlines(known.input, known.output, total);
  if (headlines === null) return { outcome: 'missing' };
  const counts: Counts = {};
  const input = splitSide(table.input, rawUsage, headlines.input, counts);
  const output = splitSide(table.output, rawUsage, headlines.output, counts);
  if (input === null || output === null) return malformed();
  return settle(flavour, counts, { input, output }, headlines, total);
}

function malformed(): VectorResult {
  return { outcome: 'quarantined', reason: 'malformed_count' };
}

/** Both headline counts; one that is missing follows from the total. */
function completeHeadlines(
  input: number | null,
  output: number | null,
  total: number | null,
): { readonly input: number; readonly output: number } | null {
  if (input !== null && output !== null) return { input, output };
  if (total === null) return null;
  if (input !== null) return total >= input ? { input, output: total - input } : null;
  if (output !== null) return total >= output ? { input: total - output, output } : null;
  return null;
}

/** Moves the sub-counts into their cells. @returns what is left for the remainder, may be negative */
function splitSide(
  side: UsageSide,
  rawUsage: Record<string, unknown>,
  headline: number,
  counts: Counts,
): number | null {
  let rest = headline;
  for (const { path, cell } of side.inside) {
    const count = countAt(rawUsage[path[0]], path[1]);
    if (count === -1) return null;
    if (count === null || count === 0) continue;
    counts[cell] = count;
    rest -= count;
  }
  return rest;
}

function settle(
  flavour: UsageFlavour,
  counts: Counts,
  rest: { input: number; output: number },
  headlines: { readonly input: number; readonly output: number },
  total: number | null,
): VectorResult {
  const table = USAGE_TABLES[flavour];
  const flags: string[] = [];
  const residue = total === null ? 0 : total - headlines.input - headlines.output;
  if (residue !== 0) flags.push('vector_mismatch');
  if (residue > 0) {
    // A count that lies outside its headline shows as a deficit on its side; otherwise the dearer side.
    if (rest.input < 0 && rest.output >= 0) rest.input += residue;
    else rest.output += residue;
  }
  for (const [side, left] of [
    [table.input, rest.input],
    [table.output, rest.output],
  ] as const) {
    const deficit = left < 0 ? takeDeficit(side, -left, counts) : 0;
    if (deficit > 0) return { outcome: 'quarantined', reason: 'parts_exceed_total' };
    if (left < 0) flags.push('cache_split_unknown');
    if (left > 0) counts[side.remainder] = left;
  }
  return { outcome: 'measured', vector: counts, flags };
}

/** Takes a deficit out of the cells that give way. @returns what could not be taken */
function takeDeficit(side: UsageSide, deficit: number, counts: Counts): number {
  let open = deficit;
  for (const cell of side.yields) {
    const taken = Math.min(open, counts[cell] ?? 0);
    if (taken === 0) continue;
    open -= taken;
    const kept = counts[cell]! - taken;
    if (kept === 0) delete counts[cell];
    else counts[cell] = kept;
  }
  return open;
}
