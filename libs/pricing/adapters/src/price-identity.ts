import { createHash } from 'node:crypto';

import { encode, rfc8949EncodeOptions } from 'cborg';

import type { IdentifiedPrice, PriceBook, PriceEntry } from '#libs/pricing/core';

/** The deterministic CBOR form of an entry: integers as `bigint`, map keys in the order of RFC 8949. */
function canonical(entry: PriceEntry): Uint8Array {
  const rates: Record<string, bigint> = {};
  for (const [cell, rate] of Object.entries(entry.ratesPicoUsd)) rates[cell] = rate;
  const { serviceTier, inputFrom, inputTo } = entry.conditions;
  return encode(
    {
      sku: entry.sku,
      provider: entry.provider,
      model: entry.model,
      conditions: {
        service_tier: serviceTier,
        input_from: BigInt(inputFrom),
        input_to: inputTo === null ? null : BigInt(inputTo),
      },
      currency: entry.currency,
      effective_from: entry.effectiveFrom,
      rates_pusd: rates,
      source: { url: entry.source.url, read_on: entry.source.readOn },
    },
    rfc8949EncodeOptions,
  );
}

/**
 * The identity of a price: SHA-256 of its deterministic CBOR form. Any changed figure, condition,
 * date or source is another price.
 * @returns 64 hex digits
 * @source RFC 8949 section 4.2.1
 */
export function priceIdOf(entry: PriceEntry): string {
  return createHash('sha256').update(canonical(entry)).digest('hex');
}

/** Entries with their identities, in the given order; an entry that occurs twice is kept once. */
export function identifyPrices(entries: readonly PriceEntry[]): readonly IdentifiedPrice[] {
  const byId = new Map<string, IdentifiedPrice>();
  for (const entry of entries) {
    const priceId = priceIdOf(entry);
    if (!byId.has(priceId)) byId.set(priceId, { ...entry, priceId });
  }
  return [...byId.values()];
}

/** The identity of a set of prices: SHA-256 over the sorted price ids, one a line; 64 hex digits. */
export function bookVersion(priceIds: Iterable<string>): string {
  const sorted = [...new Set(priceIds)].sort();
  return createHash('sha256').update(sorted.join('\n')).digest('hex');
}

/** A price book of these entries. */
export function priceBookOf(entries: readonly PriceEntry[]): PriceBook {
  const identified = identifyPrices(entries);
  return { version: bookVersion(identified.map(({ priceId }) => priceId)), entries: identified };
}
