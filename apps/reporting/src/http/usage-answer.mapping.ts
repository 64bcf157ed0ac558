import { formatUsd, picoUsd, requestIdOnWire, toRfc3339, type RequestId } from '#libs/kernel';
import type { AttemptView, LedgerProgress, UsageGrouping, UsageSums } from '#libs/usage/core';

/** Figures as they go out: counts are numbers, money is decimal strings. */
interface FiguresOnWire {
  readonly requests: number;
  readonly tokens_in: number;
  readonly tokens_out: number;
  readonly tokens: number;
  readonly cost_usd: string;
  readonly charge_usd: string;
  readonly estimated_requests: number;
}

/** One row of `GET /v1/usage`; the grouping members asked for stand beside the figures. */
export type SumsOnWire = FiguresOnWire &
  Readonly<Partial<Record<UsageGrouping, string | null>>> & {
    readonly bucket_start: string | null;
  };

/** One attempt of `GET /v1/usage/requests`. */
export type AttemptOnWire = Readonly<Record<string, string | number | boolean | null>>;

/** How far figures are complete. `complete_through` is null while metering cannot say. */
export interface ProgressOnWire {
  readonly complete_through: string | null;
  readonly missing: readonly {
    readonly emitter_id: string;
    readonly lane: number;
    readonly from_seq: string;
    readonly to_seq: string;
  }[];
}

/** A row of sums. */
export function toApiSums(sums: UsageSums): SumsOnWire {
  const { bucketStartMs } = sums;
  return {
    bucket_start: bucketStartMs === null ? null : toRfc3339(bucketStartMs),
    ...sums.group,
    ...toApiFigures(sums),
  };
}

/** The sum of all rows, in the form of a row without bucket and grouping. */
export function toApiTotal(rows: readonly UsageSums[]): SumsOnWire {
  const sumOf = (member: (row: UsageSums) => number): number =>
    rows.reduce((sum, row) => sum + member(row), 0);
  return {
    bucket_start: null,
    ...toApiFigures({
      requests: sumOf((row) => row.requests),
      tokensIn: sumOf((row) => row.tokensIn),
      tokensOut: sumOf((row) => row.tokensOut),
      costPicoUsd: picoUsd(rows.reduce((sum, row) => sum + row.costPicoUsd, 0n)),
      chargePicoUsd: picoUsd(rows.reduce((sum, row) => sum + row.chargePicoUsd, 0n)),
      estimatedRequests: sumOf((row) => row.estimatedRequests),
    }),
  };
}

function toApiFigures(figures: Omit<UsageSums, 'bucketStartMs' | 'group'>): FiguresOnWire {
  return {
    requests: figures.requests,
    tokens_in: figures.tokensIn,
    tokens_out: figures.tokensOut,
    tokens: figures.tokensIn + figures.tokensOut,
    cost_usd: formatUsd(figures.costPicoUsd),
    charge_usd: formatUsd(figures.chargePicoUsd),
    estimated_requests: figures.estimatedRequests,
  };
}

/** One attempt; the request id as callers and providers see it. */
export function toApiAttempt(attempt: AttemptView): AttemptOnWire {
  return {
    request_id: requestIdOnWire(attempt.requestId as RequestId),
    attempt: attempt.attempt,
    final: attempt.final,
    time: toRfc3339(attempt.occurredAtMs),
    key_id: attempt.keyId,
    team_id: attempt.teamId,
    user_id: attempt.userId,
    provider: attempt.provider,
    model: attempt.model,
    status: attempt.status,
    tokens_in: attempt.tokensIn,
    tokens_out: attempt.tokensOut,
    tokens: attempt.tokensIn + attempt.tokensOut,
    cost_usd: formatUsd(attempt.costPicoUsd),
    charge_usd: formatUsd(attempt.chargePicoUsd),
    price_state: attempt.priceState,
    provenance: attempt.provenance,
    source: attempt.source,
    latency_ms: attempt.latencyMs,
  };
}

/** @param progress null = metering cannot be reached */
export function toApiProgress(progress: LedgerProgress | null): ProgressOnWire {
  if (progress === null) return { complete_through: null, missing: [] };
  return {
    complete_through: toRfc3339(progress.completeThroughMs),
    missing: progress.missing.map((range) => ({
      emitter_id: range.emitterId,
      lane: range.lane,
      from_seq: range.fromSeq,
      to_seq: range.toSeq,
    })),
  };
}
