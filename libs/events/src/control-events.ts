import type { BudgetScope } from './usage-rated.event.js';

/** Why a key may not be used although it exists. */
export interface KeyBlock {
  readonly reason: 'budget' | 'admin';
  readonly scope: BudgetScope;
  readonly budget_id: string;
  readonly period: string;
  /** RFC 3339, UTC; null for a budget without a period end. */
  readonly resets_at: string | null;
}

/** The public state of a key; never the secret. Full with every event. */
export interface KeyStateV1 {
  readonly key_id: string;
  readonly org_id: string;
  readonly name: string;
  readonly user_id: string;
  readonly team_id: string | null;
  readonly enabled: boolean;
  readonly deleted: boolean;
  /** RFC 3339, UTC; null = never. */
  readonly expires_at: string | null;
  /** Exact names, prefixes ending in `*`, or `*`. */
  readonly allowed_models: readonly string[];
  /** Grows by one with each change of the key. */
  readonly rev: number;
  /** On create and rotate only: keyed digests under which the key is found, 64 hex digits each. */
  readonly digests?: readonly string[];
}

/** Types of `key.*` events that carry `KeyStateV1`. */
export type KeyEventType =
  | 'key.created.v1'
  | 'key.rotated.v1'
  | 'key.updated.v1'
  | 'key.disabled.v1'
  | 'key.enabled.v1'
  | 'key.deleted.v1';

/** `team.created.v1`, `team.updated.v1`, `team.deleted.v1`. */
export interface TeamStateV1 {
  readonly team_id: string;
  readonly org_id: string;
  readonly team_name: string;
  readonly description: string;
  readonly policy: string;
  readonly deleted: boolean;
  readonly rev: number;
}

/** `policy.changed.v1`: the full public state of a policy. */
export interface PolicyStateV1 {
  readonly org_id: string;
  readonly name: string;
  readonly unlimited: boolean;
  /** Tokens per window, > 0; null = unlimited. */
  readonly token_limit: number | null;
  /** For example `1h30m`; null = unlimited. */
  readonly time_window: string | null;
  /** Grows by one with each change. */
  readonly rev: number;
}

/** `budget.defined.v1` and, with `deleted: true`, `budget.deleted.v1`: a budget row as edited. */
export interface BudgetDefinitionV1 {
  readonly budget_id: string;
  readonly org_id: string;
  readonly scope: BudgetScope;
  readonly scope_id: string;
  readonly period: 'hourly' | 'daily' | 'weekly' | 'monthly' | 'total';
  readonly limit_pusd: string;
  readonly timezone: string;
  readonly week_start: string;
  readonly thresholds: readonly number[];
  readonly enabled: boolean;
  readonly fail_policy: 'closed' | 'bounded_open';
  readonly deleted: boolean;
  /** Grows by one with each change of the row. */
  readonly rev: number;
}

/**
 * `key.revoked.v1` and `key.reinstated.v1`: a key's own budget is exhausted, or no longer.
 * Guarded by (budget_id, epoch, budget_rev): an older one changes nothing.
 */
export interface KeyRevocationV1 {
  readonly key_id: string;
  readonly budget_id: string;
  readonly epoch: number;
  readonly budget_rev: number;
  readonly reason: 'budget';
  readonly period: string;
  readonly resets_at: string | null;
}

/**
 * `budget.exceeded.v1` (exhausted: true) and `budget.reinstated.v1` (false): the state of one budget
 * of any scope; keys below a team, user or organisation derive their status from it.
 */
export interface BudgetStateV1 {
  readonly budget_id: string;
  readonly scope: BudgetScope;
  readonly subject_id: string;
  readonly epoch: number;
  readonly budget_rev: number;
  readonly exhausted: boolean;
  readonly period: string;
  readonly resets_at: string | null;
  readonly limit_pusd: string;
  readonly settled_pusd: string;
}

/** `budget.threshold.v1`: fired once per (budget, epoch, threshold). */
export interface BudgetThresholdV1 {
  readonly budget_id: string;
  readonly scope: BudgetScope;
  readonly subject_id: string;
  readonly epoch: number;
  /** Share of the limit, > 0 and <= 1. */
  readonly threshold: number;
  readonly limit_pusd: string;
  readonly settled_pusd: string;
}

/** `price.published.v1` on topic `prices`: a new price-book version. */
export interface PricePublishedV1 {
  /** SHA-256 of the sorted price ids, 64 hex digits. */
  readonly version: string;
  readonly entries: number;
  readonly source: string;
  readonly recorded_at: string;
}
