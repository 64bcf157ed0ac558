import { ZERO_PICO_USD, picoUsd, type PicoUsd } from '#libs/kernel';
import { USAGE_CELLS, tokenTotals, type UsageCell, type UsageVector } from '#libs/providers/core';

import { resolveRate } from './inheritance.js';
import type { IdentifiedPrice } from './price-entry.js';
import type { PriceIndex } from './price-index.js';
import { pricedTier } from './service-tier.js';

/** One priced cell: quantity times unit price, an exact product. */
export interface RatedLine {
  /** From 1, in the order of the cells' codes. */
  readonly lineNo: number;
  readonly cell: UsageCell;
  /** Units, > 0. */
  readonly quantity: number;
  readonly unitPicoUsd: PicoUsd;
  readonly costPicoUsd: PicoUsd;
  readonly priceId: string;
}

/** The exact price of one attempt, or the cell that has none. */
export type RatingResult =
  | {
      readonly ok: true;
      /** The sum of the lines, >= 0. */
      readonly costPicoUsd: PicoUsd;
      readonly priceId: string;
      readonly lines: readonly RatedLine[];
      /** `tier_assumed`, `committed_capacity`, `modality_inherited`; in no promised order. */
      readonly flags: readonly string[];
    }
  | {
      readonly ok: false;
      readonly reason: 'no_rate';
      /** The first cell without a rate; null when no entry covers the model, tier and time. */
      readonly cell: UsageCell | null;
    };

/** What an attempt consumed and under which conditions. */
export interface RatingInput {
  /** The book in which the price effective at `atMs` is looked up. */
  readonly index: PriceIndex;
  readonly provider: string;
  readonly model: string;
  /** The instant that decides the price (admission), milliseconds UTC. */
  readonly atMs: number;
  readonly vector: UsageVector;
  /** As the provider reported it; null = not reported. */
  readonly serviceTierServed: string | null;
  /** As the client asked; null = not asked. */
  readonly serviceTierAsked: string | null;
}

const CELLS = Object.keys(USAGE_CELLS) as readonly UsageCell[];

/**
 * The entry whose conditions hold: the tier's newest, then its highest bound not above the tokens in.
 * @param entries in the order of `PriceIndex.find`
 */
function entryFor(
  entries: readonly IdentifiedPrice[],
  tier: string,
  tokensIn: number,
): IdentifiedPrice | null {
  for (const entry of entries) {
    const { serviceTier, inputFrom, inputTo } = entry.conditions;
    if (serviceTier !== tier || tokensIn < inputFrom) continue;
    if (inputTo === null || tokensIn < inputTo) return entry;
  }
  return null;
}

/**
 * Prices a vector by one known entry: what anybody can recompute from a row and its price id.
 * The conditions of the entry are not looked at.
 */
export function rateByEntry(entry: IdentifiedPrice, vector: UsageVector): RatingResult {
  const lines: RatedLine[] = [];
  let total = 0n;
  let inherited = false;
  for (const cell of CELLS) {
    const quantity = vector[cell] ?? 0;
    if (quantity === 0) continue;
    const rate = resolveRate(entry, cell);
    if (rate === null) return { ok: false, reason: 'no_rate', cell };
    inherited ||= rate.modalityInherited;
    const costPicoUsd = picoUsd(BigInt(quantity) * rate.unitPicoUsd);
    total += costPicoUsd;
    lines.push({
      lineNo: lines.length + 1,
      cell,
      quantity,
      unitPicoUsd: rate.unitPicoUsd,
      costPicoUsd,
      priceId: entry.priceId,
    });
  }
  return {
    ok: true,
    costPicoUsd: total === 0n ? ZERO_PICO_USD : picoUsd(total),
    priceId: entry.priceId,
    lines,
    flags: inherited ? ['modality_inherited'] : [],
  };
}

/**
 * Cost of one attempt, exact: the sum over cells of quantity times unit price. The context tier is a
 * cliff: once all tokens in (cached and written ones too) reach a tier's inclusive lower bound, every
 * token of the attempt is priced at that tier.
 * @returns the same output for the same input, for ever; `no_rate` when no entry covers the attempt
 *   or a non-zero cell has no rate after inheritance
 */
export function rate(input: RatingInput): RatingResult {
  const entries = input.index.find(input.provider, input.model, input.atMs);
  const tier = pricedTier(input.provider, input.serviceTierServed, input.serviceTierAsked);
  const entry = entryFor(entries, tier.tier, tokenTotals(input.vector).tokensIn);
  if (entry === null) return { ok: false, reason: 'no_rate', cell: null };
  const rated = rateByEntry(entry, input.vector);
  return rated.ok ? { ...rated, flags: [...tier.flags, ...rated.flags] } : rated;
}
