import { backoffMs, delay, type Clock, type Random } from '#libs/kernel';
import type { KeyDirectory } from '#libs/keys/core';
import { PriceIndex, type PriceDirectory } from '#libs/pricing/core';

import { catalogueOf, type Catalogue } from './catalogue.js';

/** Age at which catalogue and prices are fetched anew should nobody have told of a change. */
const REFRESH_MS = 30_000;
/** Pauses between attempts while the directories cannot be reached. */
const BACKOFF = { firstMs: 50, mostMs: 5_000 } as const;

/** What the source is made of. */
export interface CatalogueSourceParts {
  readonly keys: Pick<KeyDirectory, 'catalog'>;
  readonly prices: Pick<PriceDirectory, 'currentBook'>;
  readonly credentialOf: (variable: string) => string | null;
  readonly clock: Clock;
  readonly random: Random;
  readonly onError: (error: unknown) => void;
}

/** Keeps catalogue and prices current: at start, on notice, and every 30 s. */
export class CatalogueSource {
  private catalogue: Catalogue | null = null;
  private readonly stopped = new AbortController();
  private wanted = new AbortController();
  private running: Promise<void> | null = null;

  constructor(private readonly parts: CatalogueSourceParts) {}

  /** The state in force; null until the first fetch succeeded. */
  current(): Catalogue | null {
    return this.catalogue;
  }

  /** Begins fetching; a second call changes nothing. */
  start(): void {
    this.running ??= this.run();
  }

  /** Fetches anew now, because something changed. */
  refresh(): void {
    this.wanted.abort();
  }

  async stop(): Promise<void> {
    this.stopped.abort();
    this.wanted.abort();
    await this.running;
  }

  private async run(): Promise<void> {
    for (let failures = 0; !this.stopped.signal.aborted;) {
      this.wanted = new AbortController();
      try {
        await this.fetch();
        failures = 0;
      } catch (error) {
        this.parts.onError(error);
        const unit = this.parts.random.bytes(1)[0]! / 256;
        await delay(backoffMs(failures++, BACKOFF, unit), this.stopped.signal);
        continue;
      }
      await delay(REFRESH_MS, this.wanted.signal);
    }
  }

  private async fetch(): Promise<void> {
    const { keys, prices, credentialOf } = this.parts;
    const [served, book] = await Promise.all([keys.catalog(), prices.currentBook()]);
    const known = this.catalogue;
    if (known?.digest === served.digest && known.prices.version === book.version) return;
    const index = known?.prices.version === book.version ? known.prices : new PriceIndex(book);
    this.catalogue = catalogueOf(served, index, credentialOf);
  }
}
