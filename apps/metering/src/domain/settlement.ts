import type { Provenance } from '#libs/events';
import { minPicoUsd, ZERO_PICO_USD, type PicoUsd } from '#libs/kernel';
import { rateByEntry, type IdentifiedPrice } from '#libs/pricing/core';

import { needsPrice, type CompletedAttempt } from './event-decoder.js';

/** What an attempt costs by our own reckoning. */
export interface Settlement {
  readonly costPicoUsd: PicoUsd;
  readonly chargePicoUsd: PicoUsd;
  readonly provenance: Provenance;
  readonly priceState: 'priced' | 'ceiling' | 'unknown';
  /** The event's own flags and ours, each once. */
  readonly flags: readonly string[];
  /** The proxy stated another cost or charge; ours stands. */
  readonly isMismatch: boolean;
}

interface Amount {
  readonly costPicoUsd: PicoUsd;
  readonly provenance: Provenance;
  readonly priceState: Settlement['priceState'];
  readonly flags: readonly string[];
}

/**
 * Settles one attempt: measured tokens at their exact price, partial estimates at their price but
 * never above the hold, unknown outcomes at the hold, attempts that were not sent at 0. An unknown
 * outcome or a cell without a rate never settles at 0.
 * @param entry the price the event names; null when its amount does not follow from tokens
 */
export function settle(attempt: CompletedAttempt, entry: IdentifiedPrice | null): Settlement {
  const amount = amountOf(attempt, entry);
  const isMismatch =
    amount.costPicoUsd !== attempt.statedCostPicoUsd ||
    amount.costPicoUsd !== attempt.statedChargePicoUsd;
  const flags = new Set([...attempt.flags, ...amount.flags]);
  if (isMismatch) flags.add('cost_mismatch');
  return {
    costPicoUsd: amount.costPicoUsd,
    chargePicoUsd: amount.costPicoUsd,
    provenance: amount.provenance,
    priceState: amount.priceState,
    flags: [...flags],
    isMismatch,
  };
}

function amountOf(attempt: CompletedAttempt, entry: IdentifiedPrice | null): Amount {
  const { provenance, holdPicoUsd, priceState } = attempt;
  const atHold = { costPicoUsd: holdPicoUsd, provenance: 'estimated_hold' as const };
  if (provenance === 'zero_not_sent') {
    return { costPicoUsd: ZERO_PICO_USD, provenance, priceState, flags: [] };
  }
  if (provenance === 'estimated_hold') return { ...atHold, priceState, flags: [] };
  if (isEmpty(attempt)) {
    return provenance === 'measured'
      ? { costPicoUsd: ZERO_PICO_USD, provenance, priceState, flags: [] }
      : { ...atHold, priceState, flags: [] };
  }
  if (!needsPrice(attempt)) return { ...atHold, priceState, flags: [] };
  const rated = entry === null ? null : rateByEntry(entry, attempt.usage);
  if (rated === null || !rated.ok) return { ...atHold, priceState: 'unknown', flags: ['no_rate'] };
  if (provenance === 'estimated_partial') {
    const costPicoUsd = minPicoUsd(rated.costPicoUsd, holdPicoUsd);
    return { costPicoUsd, provenance, priceState, flags: rated.flags };
  }
  const overrun = rated.costPicoUsd > holdPicoUsd ? ['overrun'] : [];
  return {
    costPicoUsd: rated.costPicoUsd,
    provenance,
    priceState,
    flags: [...rated.flags, ...overrun],
  };
}

function isEmpty(attempt: CompletedAttempt): boolean {
  return Object.values(attempt.usage).every((count) => count === 0);
}
