import { In, type EntityManager } from 'typeorm';

import type { EntityTransaction } from '#libs/platform/postgres';
import type { IdentifiedPrice, PriceBook } from '#libs/pricing/core';

import { PriceEntryEntity } from './price-entry.entity.js';
import { fromPriceBody, toPriceBody } from './price-entry.mapping.js';
import { PriceVersionEntity } from './price-version.entity.js';

/** Rows per insert statement. */
const INSERT_ROWS = 500;

/** Serialises publications; the digits have no meaning. */
const PUBLISH_LOCK = 5_190_224_871;

/** The price book in schema `auth`: entries and versions are only ever added. */
export class PostgresPriceBookStore {
  constructor(private readonly manager: () => EntityManager) {}

  /** The version in force with its entries; null before the first publication. */
  async current(): Promise<PriceBook | null> {
    const version = await lastVersion(this.manager());
    if (version === null) return null;
    const rows = await this.manager().findBy(PriceEntryEntity, {
      priceId: In([...version.priceIds]),
    });
    const bodies = new Map(rows.map(({ priceId, body }) => [priceId, body]));
    // The order of publication decides between entries of the same conditions and date.
    const entries = version.priceIds.map((priceId) => fromPriceBody(bodies.get(priceId)!));
    return { version: version.version, entries };
  }

  /** One entry of any version; null when it was never published. */
  async findEntry(priceId: string): Promise<IdentifiedPrice | null> {
    const row = await this.manager().findOneBy(PriceEntryEntity, { priceId });
    return row === null ? null : fromPriceBody(row.body);
  }

  /**
   * Puts a book in force. Publications wait for each other.
   * @returns false, and nothing is written, when that very version is in force
   */
  async publish(
    tx: EntityTransaction,
    book: PriceBook,
    source: string,
    nowMs: number,
  ): Promise<boolean> {
    await tx.query('SELECT pg_advisory_xact_lock($1)', [PUBLISH_LOCK]);
    if ((await lastVersion(tx.manager))?.version === book.version) return false;
    for (let from = 0; from < book.entries.length; from += INSERT_ROWS) {
      const rows = book.entries.slice(from, from + INSERT_ROWS).map((entry) => ({
        priceId: entry.priceId,
        body: toPriceBody(entry),
        recordedAtMs: nowMs,
      }));
      await tx.manager
        .createQueryBuilder()
        .insert()
        .into(PriceEntryEntity)
        .values(rows)
        .orIgnore()
        .execute();
    }
    const priceIds = book.entries.map(({ priceId }) => priceId);
    const { version } = book;
    const row = { version, priceIds, source, recordedAtMs: nowMs };
    await tx.manager.insert(PriceVersionEntity, row as object);
    return true;
  }
}

function lastVersion(manager: EntityManager): Promise<PriceVersionEntity | null> {
  return manager.findOne(PriceVersionEntity, { where: {}, order: { seq: 'DESC' } });
}
