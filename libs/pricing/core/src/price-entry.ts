import type { PicoUsd } from '#libs/kernel';
import type { UsageCell } from '#libs/providers/core';

/**
 * One immutable price: a flat map from cell to pico-USD per unit, with the conditions under which it
 * holds. Identified by the SHA-256 of its deterministic CBOR form, so that anybody can recompute a
 * cost as the sum of quantity times rate.
 */
export interface PriceEntry {
  /** `<provider>/<model>` */
  readonly sku: string;
  readonly provider: string;
  readonly model: string;
  readonly conditions: {
    readonly serviceTier: string;
    /** Inclusive lower bound of the attempt's input tokens; the whole attempt is priced by its tier. */
    readonly inputFrom: number;
    /** Exclusive upper bound; null = none. */
    readonly inputTo: number | null;
  };
  readonly currency: 'USD';
  /** RFC 3339, UTC, inclusive; the entry ends where the next of the same sku and conditions begins. */
  readonly effectiveFrom: string;
  /** pUSD per single unit, >= 0. */
  readonly ratesPicoUsd: Readonly<Partial<Record<UsageCell, PicoUsd>>>;
  readonly source: { readonly url: string; readonly readOn: string };
}

/** An entry with its identity. */
export interface IdentifiedPrice extends PriceEntry {
  /** 64 hex digits. */
  readonly priceId: string;
}

/** All entries known, as of one version. */
export interface PriceBook {
  /** SHA-256 of the sorted price ids, 64 hex digits. */
  readonly version: string;
  readonly entries: readonly IdentifiedPrice[];
}
