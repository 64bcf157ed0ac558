import { TOPICS, type PricePublishedV1 } from '#libs/events';
import { toRfc3339, type Clock } from '#libs/kernel';
import { ConfigError } from '#libs/platform/config';
import type { ServiceDataSource } from '#libs/platform/postgres';
import type { Logger } from '#libs/platform/telemetry';
import { loadPriceSheets, priceBookOf, type PostgresPriceBookStore } from '#libs/pricing/adapters';

import type { ControlJournal } from './control-journal.js';

/** Publishes the price sheets of a folder as the version in force. */
export class PublishPrices {
  constructor(
    private readonly source: ServiceDataSource,
    private readonly store: PostgresPriceBookStore,
    private readonly journal: ControlJournal,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  /**
   * Reads the sheets and publishes them unless that very version is in force.
   * A faulty sheet is refused, and with it the whole folder: the version in force stays.
   * @throws ConfigError listing every fault when no version is in force yet
   */
  async execute(directory: string): Promise<void> {
    const loaded = await loadPriceSheets(directory);
    const faults = loaded.refused.flatMap(({ file, faults: found }) =>
      found.map((fault) => `PRICE_SHEETS_DIR ${file}: ${fault}`),
    );
    if (faults.length > 0) return this.refuse(faults);
    const book = priceBookOf(loaded.entries);
    const nowMs = this.clock.nowMs();
    await this.source.transaction(async (tx) => {
      if (!(await this.store.publish(tx, book, 'sheets', nowMs))) return;
      const data: PricePublishedV1 = {
        version: book.version,
        entries: book.entries.length,
        source: 'sheets',
        recorded_at: toRfc3339(nowMs),
      };
      const change = { type: 'price.published.v1', subject: book.version, data };
      await this.journal.record(tx, 'system', [change], TOPICS.prices);
    });
  }

  private async refuse(faults: readonly string[]): Promise<void> {
    if ((await this.store.current()) === null) throw new ConfigError(faults);
    this.logger.error({ faults }, 'price sheets are refused; the version in force stays');
  }
}
