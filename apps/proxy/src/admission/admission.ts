import type { ChatScan } from '#libs/providers/core';

import { budgetExceeded, REFUSALS, type Refusal } from '../http/refusal.js';
import { boundOf, type Bound } from './bound.js';
import type { Catalogue, ModelRoute } from './catalogue.js';
import { admitsModel, type Principal } from './principal.js';

/** A request that may be sent once its money is held. */
export interface Admitted {
  readonly route: ModelRoute;
  readonly bound: Bound;
}

/** Why a known key may not be used now; null = it may. Expiry is strict: at its instant a key works. */
export function barredBy(principal: Principal, nowMs: number): Refusal | null {
  const { record, block } = principal;
  if (record.deleted) return REFUSALS.deletedKey;
  if (!record.enabled) return REFUSALS.disabledKey;
  if (record.expiresAtMs !== null && nowMs > record.expiresAtMs) return REFUSALS.expiredKey;
  if (block === null) return null;
  const { scope, period, resets_at } = block;
  return budgetExceeded({ scope, period, resetsAt: resets_at }, 'revoked');
}

/**
 * Judges what a key asks for, in the order of the contract: allow-list before existence, then the
 * provider, then the price. Pure.
 */
export function admit(
  principal: Principal,
  scan: ChatScan,
  catalogue: Catalogue,
  nowMs: number,
): Admitted | Refusal {
  const entry = catalogue.byName.get(scan.model);
  if (!admitsModel(principal, entry?.names ?? [scan.model])) return REFUSALS.modelNotAllowed;
  if (entry === undefined) return REFUSALS.modelUnknown;
  if (entry.route === null) return REFUSALS.notConfigured;
  if (!principal.isRecordable) return REFUSALS.recordTooLarge;
  const bound = boundOf(catalogue.prices, entry.route, scan, nowMs);
  if (bound === 'price_unknown') return REFUSALS.priceUnknown;
  if (bound === 'unestimable') return REFUSALS.unestimable;
  return { route: entry.route, bound };
}
