import type { PostgresPriceBookStore } from '#libs/pricing/adapters';
import { PriceDirectory, type IdentifiedPrice, type PriceBook } from '#libs/pricing/core';

import { noPrices } from '../errors.js';

/** The price book as other services ask for it. */
export class AuthPriceDirectory extends PriceDirectory {
  constructor(private readonly store: PostgresPriceBookStore) {
    super();
  }

  /** @throws AppError `prices.none` before the first publication */
  async currentBook(): Promise<PriceBook> {
    const book = await this.store.current();
    if (book === null) throw noPrices();
    return book;
  }

  findEntry(priceId: string): Promise<IdentifiedPrice | null> {
    return this.store.findEntry(priceId);
  }
}
