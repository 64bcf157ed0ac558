/** The tier an attempt is priced at, and what there is to say about how it was found. */
export interface PricedTier {
  readonly tier: string;
  readonly flags: readonly string[];
}

/** The name of the base tier in every price entry. */
export const STANDARD_TIER = 'standard';

/** Capacity paid for in advance; its calls are priced at the standard rate and labelled. */
const COMMITTED: PricedTier = { tier: STANDARD_TIER, flags: ['committed_capacity'] };

/** Vendor words for tiers, lower case. @source OpenAI and Anthropic API references, `service_tier` */
const TIER_NAMES: Readonly<Record<string, string>> = {
  default: STANDARD_TIER,
  standard: STANDARD_TIER,
  standard_only: STANDARD_TIER,
  on_demand: STANDARD_TIER,
  flex: 'flex',
  on_demand_flex: 'flex',
  priority: 'priority',
  fast: 'priority',
  on_demand_priority: 'priority',
  batch: 'batch',
};

function named(provider: string, reported: string): PricedTier {
  const name = reported.toLowerCase();
  if (name === 'scale' || name === 'provisioned_throughput') return COMMITTED;
  // Anthropic sells its priority tier as a commitment, never per token.
  if (name === 'priority' && provider === 'anthropic') return COMMITTED;
  return { tier: TIER_NAMES[name] ?? name, flags: [] };
}

function leavesChoice(asked: string | null): boolean {
  return asked === null || asked.toLowerCase() === 'auto';
}

/**
 * The tier that prices an attempt: what was served, else what was asked (flag `tier_assumed`), else
 * the standard one. An unknown word is kept, so that it finds no entry and is never priced as another.
 */
export function pricedTier(
  provider: string,
  served: string | null,
  asked: string | null,
): PricedTier {
  if (served !== null && served !== '') return named(provider, served);
  if (asked === null || asked === '') return { tier: STANDARD_TIER, flags: [] };
  const assumed = leavesChoice(asked) ? { tier: STANDARD_TIER, flags: [] } : named(provider, asked);
  return { tier: assumed.tier, flags: [...assumed.flags, 'tier_assumed'] };
}

/**
 * Tiers an attempt can end at: the one asked for and the standard one a provider falls back to; when
 * the choice is left to the provider, its priority tier as well, because an account can be set so.
 */
export function reachableTiers(provider: string, asked: string | null): ReadonlySet<string> {
  if (leavesChoice(asked === '' ? null : asked)) return new Set([STANDARD_TIER, 'priority']);
  return new Set([STANDARD_TIER, named(provider, asked!).tier]);
}
