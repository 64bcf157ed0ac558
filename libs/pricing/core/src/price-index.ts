import type { IdentifiedPrice, PriceBook } from './price-entry.js';

/** Prices of one sku from one instant on, until the next slice begins. */
interface Slice {
  readonly fromMs: number;
  readonly entries: readonly IdentifiedPrice[];
}

const NONE: readonly IdentifiedPrice[] = [];

/**
 * A price book arranged for look-ups: by identity in O(1), by (provider, model, instant) in O(1) for
 * the newest prices and O(number of changes) for older ones. Immutable; safe to share.
 * Models match by their exact id only; a sheet's aliases are entries of their own.
 */
export class PriceIndex {
  /** The version of the book, 64 hex digits. */
  readonly version: string;
  private readonly bySku = new Map<string, readonly Slice[]>();
  private readonly byIdentity = new Map<string, IdentifiedPrice>();

  constructor(book: PriceBook) {
    this.version = book.version;
    const groups = new Map<string, IdentifiedPrice[]>();
    for (const entry of book.entries) {
      this.byIdentity.set(entry.priceId, entry);
      const key = skuKey(entry.provider, entry.model);
      const group = groups.get(key);
      if (group === undefined) groups.set(key, [entry]);
      else group.push(entry);
    }
    for (const [key, group] of groups) this.bySku.set(key, slicesOf(group));
  }

  /**
   * Entries of a model in force at an instant, newest effective date first, then the highest tier
   * bound first; empty when the model has no price then.
   * @param atMs milliseconds UTC
   */
  find(provider: string, model: string, atMs: number): readonly IdentifiedPrice[] {
    const slices = this.bySku.get(skuKey(provider, model)) ?? [];
    for (const slice of slices) if (slice.fromMs <= atMs) return slice.entries;
    return NONE;
  }

  /** One entry by its identity. */
  byId(priceId: string): IdentifiedPrice | null {
    return this.byIdentity.get(priceId) ?? null;
  }
}

function skuKey(provider: string, model: string): string {
  return `${provider}\n${model}`;
}

function conditionsKey({ conditions }: IdentifiedPrice): string {
  return `${conditions.serviceTier}\n${conditions.inputFrom}\n${conditions.inputTo ?? ''}`;
}

/** Newest slice first. Within the same conditions and date, the entry later in the book holds. */
function slicesOf(group: readonly IdentifiedPrice[]): readonly Slice[] {
  const dated = group.map((entry) => ({ entry, fromMs: Date.parse(entry.effectiveFrom) }));
  const changes = [...new Set(dated.map(({ fromMs }) => fromMs))].sort((a, b) => b - a);
  return changes.map((changeMs) => {
    const inForce = new Map<string, { entry: IdentifiedPrice; fromMs: number }>();
    for (const candidate of dated) {
      if (candidate.fromMs > changeMs) continue;
      const key = conditionsKey(candidate.entry);
      const known = inForce.get(key);
      if (known === undefined || candidate.fromMs >= known.fromMs) inForce.set(key, candidate);
    }
    const entries = [...inForce.values()]
      .sort(
        (a, b) =>
          b.fromMs - a.fromMs || b.entry.conditions.inputFrom - a.entry.conditions.inputFrom,
      )
      .map(({ entry }) => entry);
    return { fromMs: changeMs, entries };
  });
}
