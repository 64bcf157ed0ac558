import { PriceEntryEntity } from './price-entry.entity.js';
import { PriceVersionEntity } from './price-version.entity.js';

export * from './postgres-price-book.store.js';
export * from './price-entry.mapping.js';

/** Entity classes of the price book, for the data source of schema `auth`. */
export const PRICE_ENTITIES = [PriceEntryEntity, PriceVersionEntity] as const;
