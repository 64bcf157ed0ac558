/** How an attempt ended, as its terminal record says. */
export type AttemptStatus =
  | 'ok'
  | 'partial'
  | 'refused'
  | 'provider_error'
  | 'timeout'
  | 'aborted'
  | 'unknown';

/** How sure the figures of a row are. */
export type Provenance = 'measured' | 'estimated_partial' | 'estimated_hold' | 'zero_not_sent';

/** Where the token figures came from. */
export type UsageSource =
  | 'provider_final'
  | 'provider_late'
  | 'provider_partial'
  | 'estimated_tokenizer'
  | 'none';

/** One budget that a hold was taken from, with the epoch it belongs to. */
export interface HeldBudget {
  readonly budget_id: string;
  readonly epoch: number;
}

/** The event type of an attempt's terminal record. */
export const REQUEST_COMPLETED_V1 = 'request.completed.v1';

/**
 * Exactly one per upstream attempt. Money is an integer string of pico-dollars; times are RFC 3339
 * in UTC; `null` means unknown, which is never 0.
 */
export interface RequestCompletedV1 {
  /** UUID text, `eventIdOf(request_id, attempt, completed)`. */
  readonly event_id: string;
  readonly request_id: string;
  /** From 1. */
  readonly attempt: number;
  /** Whether no further attempt of the same request follows. */
  readonly final: boolean;
  readonly org_id: string;
  readonly key_id: string;
  readonly team_id: string | null;
  /** Set when `team_id` is a reporting label of a key that belongs to no team: no team's budget sees it. */
  readonly team_is_label?: true;
  readonly user_id: string;
  readonly provider: string;
  readonly model_requested: string;
  /** The catalogue's model id after alias resolution; prices are looked up by it. */
  readonly model: string;
  /** What the provider says it served; null when it did not say. */
  readonly model_served: string | null;
  readonly operation: 'chat';
  readonly stream: boolean;
  readonly service_tier_requested: string | null;
  readonly service_tier_served: string | null;
  readonly status: AttemptStatus;
  readonly http_status: number | null;
  readonly provenance: Provenance;
  readonly usage_source: UsageSource;
  /** The provider's usage object, verbatim JSON text; null when none came. */
  readonly raw_usage: string | null;
  /** Additive vector: each token in exactly one cell; zero cells omitted. */
  readonly usage: Readonly<Record<string, number>>;
  /** SHA-256 of the price entry, 64 hex digits; null only when nothing was priced (see price_state). */
  readonly price_id: string | null;
  readonly price_version: string;
  readonly price_state: 'priced' | 'ceiling';
  readonly cost_pusd: string;
  readonly charge_pusd: string;
  /** The upper bound taken for this attempt, whether or not a budget covers the key. */
  readonly hold_pusd: string;
  /** The hold in the budget authority; null when no budget covered the key at admission. */
  readonly hold: { readonly hold_id: string; readonly budgets: readonly HeldBudget[] } | null;
  readonly flags: readonly string[];
  readonly finish_reason: string | null;
  readonly admitted_at: string;
  readonly occurred_at: string;
  readonly latency_ms: number;
  readonly ttft_ms: number | null;
  readonly upstream_request_id: string | null;
  readonly client_request_id: string | null;
  readonly client_retry_count: number | null;
  readonly traceparent: string | null;
  readonly source: 'proxy' | 'recovery';
}

/** Why a request was refused before anything went upstream. */
export type RejectionReason =
  | 'auth'
  | 'expired'
  | 'revoked'
  | 'disabled'
  | 'model'
  | 'model_unknown'
  | 'invalid'
  | 'too_large'
  | 'requests'
  | 'requests_per_day'
  | 'tokens'
  | 'policy_tokens'
  | 'concurrency'
  | 'budget'
  | 'budget_reserved'
  | 'price_unknown'
  | 'unestimable'
  | 'unavailable';

/** The event type of a refusal. */
export const REQUEST_REJECTED_V1 = 'request.rejected.v1';

/** One per refusal of a request whose key is known; it costs nothing. */
export interface RequestRejectedV1 {
  readonly event_id: string;
  readonly request_id: string;
  readonly org_id: string;
  readonly key_id: string;
  readonly team_id: string | null;
  readonly user_id: string;
  readonly model_requested: string | null;
  readonly reason: RejectionReason;
  /** The code the caller saw, for example `budget_exceeded`. */
  readonly code: string;
  readonly occurred_at: string;
}
