import type { IdentifiedPrice, PriceBook } from '../price-entry.js';

/** The price book as other services ask auth for it. */
export abstract class PriceDirectory {
  /** The version in force with all its entries. */
  abstract currentBook(): Promise<PriceBook>;
  /** One entry by its identity, of any version ever published; null when it never was. */
  abstract findEntry(priceId: string): Promise<IdentifiedPrice | null>;
}

/** The calls of `PriceDirectory`, for the transport between services. */
export const PRICE_DIRECTORY_METHODS = ['currentBook', 'findEntry'] as const;
