import type { PicoUsd } from '#libs/kernel';
import type { UsageCell } from '#libs/providers/core';

import type { PriceEntry } from './price-entry.js';

/** What a cell costs under an entry, and whether the rate of another modality stands in for it. */
export interface ResolvedRate {
  readonly unitPicoUsd: PicoUsd;
  readonly modalityInherited: boolean;
}

interface Inheritance {
  readonly from: readonly UsageCell[];
  readonly flagged: boolean;
}

const OWN_ONLY: Inheritance = { from: [], flagged: false };

/**
 * Whose rate a cell takes when it has none of its own, first hit wins. A five-minute write rate is
 * the vendor's generic write rate where only that one is listed (Anthropic, Bedrock).
 * `cache_write_1h` inherits nothing: it is dearer than the others, so a guess would be too low.
 * @source docs/pricing.md, "Inheritance"
 */
const INHERITANCE: Readonly<Record<UsageCell, Inheritance>> = {
  input_text: OWN_ONLY,
  input_audio: { from: ['input_text'], flagged: true },
  input_image: { from: ['input_text'], flagged: true },
  input_video: { from: ['input_text'], flagged: true },
  input_tool: { from: ['input_text'], flagged: false },
  cache_read_text: { from: ['input_text'], flagged: false },
  cache_read_audio: { from: ['cache_read_text', 'input_audio', 'input_text'], flagged: false },
  cache_read_image: { from: ['cache_read_text', 'input_image', 'input_text'], flagged: false },
  cache_read_video: { from: ['cache_read_text', 'input_video', 'input_text'], flagged: false },
  cache_write_5m: { from: ['cache_write_unspecified', 'input_text'], flagged: false },
  cache_write_1h: OWN_ONLY,
  cache_write_unspecified: { from: ['cache_write_5m', 'input_text'], flagged: false },
  cache_write_30m: {
    from: ['cache_write_unspecified', 'cache_write_5m', 'input_text'],
    flagged: false,
  },
  cache_write_12h: {
    from: ['cache_write_unspecified', 'cache_write_5m', 'input_text'],
    flagged: false,
  },
  output_text: OWN_ONLY,
  output_reasoning: { from: ['output_text'], flagged: false },
  output_audio: { from: ['output_text'], flagged: true },
  output_image: { from: ['output_text'], flagged: true },
  output_citation: { from: ['output_text'], flagged: false },
  output_video: { from: ['output_text'], flagged: true },
};

/**
 * The rate of a cell under an entry: its own, else the inherited one.
 * @returns null when the cell has no rate after inheritance; an own rate of zero is a rate
 */
export function resolveRate(entry: PriceEntry, cell: UsageCell): ResolvedRate | null {
  const own = entry.ratesPicoUsd[cell];
  if (own !== undefined) return { unitPicoUsd: own, modalityInherited: false };
  const { from, flagged } = INHERITANCE[cell];
  for (const source of from) {
    const inherited = entry.ratesPicoUsd[source];
    if (inherited !== undefined) return { unitPicoUsd: inherited, modalityInherited: flagged };
  }
  return null;
}
