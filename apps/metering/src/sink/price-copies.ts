import { AppError, assert, delay, type Clock } from '#libs/kernel';
import type { Database } from '#libs/platform/postgres';
import { decodeRpc, encodeRpc } from '#libs/platform/rpc';
import { priceIdOf } from '#libs/pricing/adapters';
import type { IdentifiedPrice, PriceDirectory } from '#libs/pricing/core';

/** How long a price that nobody knows yet is waited for, milliseconds; then its partition stops. */
const WAIT_MS = 30_000;
/** Pause between two questions for it, milliseconds. */
const ASK_EVERY_MS = 250;
/** Prices kept in memory; about 1 KiB each. */
const MAX_CACHED = 10_000;

/** Where a price may be asked for: the control plane's price book. */
export type PriceSource = Pick<PriceDirectory, 'findEntry'>;

/**
 * Prices by identity: from memory, from the content-addressed copy in `metering.price_entry`, else
 * from the control plane. Whatever its origin, a price counts only if its hash is its id.
 */
export class PriceCopies {
  private readonly cache = new Map<string, IdentifiedPrice>();

  constructor(
    private readonly database: Database,
    private readonly source: PriceSource,
    private readonly clock: Clock,
    /** How long an unknown price is waited for, milliseconds. */
    private readonly waitMs: number = WAIT_MS,
  ) {}

  /**
   * All the prices asked for.
   * @throws AppError `metering.price_unknown` when one stays unknown, `metering.price_forged` when
   *   one does not hash to its id
   */
  async resolve(
    priceIds: readonly string[],
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, IdentifiedPrice>> {
    const found = new Map<string, IdentifiedPrice>();
    for (const priceId of priceIds) {
      found.set(priceId, this.cache.get(priceId) ?? (await this.load(priceId, signal)));
    }
    return found;
  }

  private async load(priceId: string, signal: AbortSignal): Promise<IdentifiedPrice> {
    const price = (await this.copy(priceId)) ?? (await this.fetch(priceId, signal));
    if (this.cache.size >= MAX_CACHED) this.cache.clear();
    this.cache.set(priceId, price);
    return price;
  }

  private async copy(priceId: string): Promise<IdentifiedPrice | null> {
    const { rows } = await this.database.query<{ body: string }>(
      'SELECT body FROM price_entry WHERE price_id = $1',
      [priceId],
    );
    return rows[0] === undefined ? null : checked(priceId, decodeRpc(rows[0].body));
  }

  private async fetch(priceId: string, signal: AbortSignal): Promise<IdentifiedPrice> {
    const deadlineMs = this.clock.monotonicMs() + this.waitMs;
    for (;;) {
      const entry = await this.source.findEntry(priceId);
      if (entry !== null) {
        const price = checked(priceId, entry);
        await this.database.query(
          'INSERT INTO price_entry (price_id, body) VALUES ($1, $2) ON CONFLICT DO NOTHING',
          [priceId, encodeRpc(price)],
        );
        return price;
      }
      if (signal.aborted || this.clock.monotonicMs() >= deadlineMs) throw unknownPrice(priceId);
      await delay(ASK_EVERY_MS, signal);
    }
  }
}

function checked(priceId: string, value: unknown): IdentifiedPrice {
  assert(typeof value === 'object' && value !== null, 'a price is an object');
  const price = value as IdentifiedPrice;
  if (priceIdOf(price) === priceId && price.priceId === priceId) return price;
  throw new AppError({
    code: 'metering.price_forged',
    kind: 'internal',
    publicMessage: 'internal error',
    internalMessage: `the price under id ${priceId} has another hash`,
  });
}

function unknownPrice(priceId: string): AppError {
  return new AppError({
    code: 'metering.price_unknown',
    kind: 'unavailable',
    publicMessage: 'a price is not known yet',
    internalMessage: `nobody knows price ${priceId}; its partition waits`,
    retryable: true,
  });
}
