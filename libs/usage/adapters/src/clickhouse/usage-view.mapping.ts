import { assert, parseUsd } from '#libs/kernel';
import type { AttemptView, UsageGrouping, UsageQuestion, UsageSums } from '#libs/usage/core';

import { GROUP_COLUMNS } from './usage.query.js';

/** A row of `sumsQuery`; 64-bit integers and decimals are text. */
export interface SumsRecord {
  readonly bucket_start_ms?: string;
  readonly key_id?: string;
  readonly team_id?: string | null;
  readonly user_id?: string;
  readonly model?: string;
  readonly provider?: string;
  readonly requests: string;
  readonly sum_tokens_in: string;
  readonly sum_tokens_out: string;
  readonly sum_cost_usd: string;
  readonly sum_charge_usd: string;
  readonly estimated_requests: string;
}

/** A row of `attemptsQuery`; 64-bit integers and decimals are text. */
export interface AttemptRecord {
  readonly event_id: string;
  readonly request_id: string;
  readonly attempt: number;
  readonly is_final: boolean;
  readonly occurred_at_ms: string;
  readonly key_id: string;
  readonly team_id: string | null;
  readonly user_id: string;
  readonly provider: string;
  readonly model: string;
  readonly status: string;
  readonly tokens_in: string;
  readonly tokens_out: string;
  readonly cost_usd: string;
  readonly charge_usd: string;
  readonly price_state: string;
  readonly provenance: string;
  readonly source: string;
  readonly latency_ms: string;
}

/** Sums with the members the question groups by. */
export function toUsageSums(record: SumsRecord, question: UsageQuestion): UsageSums {
  const group: Partial<Record<UsageGrouping, string | null>> = {};
  for (const grouping of question.groupBy) {
    group[grouping] = record[GROUP_COLUMNS[grouping] as keyof SumsRecord] ?? null;
  }
  return {
    bucketStartMs: question.bucket === 'none' ? null : toCount(record.bucket_start_ms ?? ''),
    group,
    requests: toCount(record.requests),
    tokensIn: toCount(record.sum_tokens_in),
    tokensOut: toCount(record.sum_tokens_out),
    costPicoUsd: parseUsd(record.sum_cost_usd),
    chargePicoUsd: parseUsd(record.sum_charge_usd),
    estimatedRequests: toCount(record.estimated_requests),
  };
}

/** One attempt as listed. */
export function toAttemptView(record: AttemptRecord): AttemptView {
  return {
    eventId: record.event_id,
    requestId: record.request_id,
    attempt: record.attempt,
    final: record.is_final,
    occurredAtMs: toCount(record.occurred_at_ms),
    keyId: record.key_id,
    teamId: record.team_id,
    userId: record.user_id,
    provider: record.provider,
    model: record.model,
    status: record.status,
    tokensIn: toCount(record.tokens_in),
    tokensOut: toCount(record.tokens_out),
    costPicoUsd: parseUsd(record.cost_usd),
    chargePicoUsd: parseUsd(record.charge_usd),
    priceState: record.price_state,
    provenance: record.provenance,
    source: record.source,
    latencyMs: toCount(record.latency_ms),
  };
}

/** A figure that would be wrong as a `number` stops the answer instead of being rounded. */
function toCount(text: string): number {
  const value = Number(text);
  assert(text !== '' && Number.isSafeInteger(value), 'a count is a whole number below 2^53');
  return value;
}
