import { formatUsd, toRfc3339 } from '#libs/kernel';
import type { BatchSeal, RejectionRow, RollupCell, UsageRow } from '#libs/usage/core';

/**
 * A row of `raw_usage_v1` as JSON. Every column is set, so that no default of the engine takes part;
 * ids, money and 64-bit integers are text. Durations are whole milliseconds, never below 0.
 */
export function fromUsageRow(batchId: string, row: UsageRow): Record<string, unknown> {
  return {
    event_id: row.eventId,
    batch_id: batchId,
    request_id: row.requestId,
    attempt: row.attempt,
    is_final: row.final,
    org_id: row.orgId,
    key_id: row.keyId,
    team_id: row.teamId,
    user_id: row.userId,
    provider: row.provider,
    model_requested: row.modelRequested,
    model: row.model,
    model_served: row.modelServed,
    operation: row.operation,
    is_stream: row.stream,
    service_tier: row.serviceTier,
    status: row.status,
    http_status: row.httpStatus,
    provenance: row.provenance,
    usage_source: row.usageSource,
    source: row.source,
    raw_usage: row.rawUsage,
    usage: row.usage,
    tokens_in: row.tokensIn,
    tokens_out: row.tokensOut,
    price_id: row.priceId,
    price_version: row.priceVersion,
    price_state: row.priceState,
    cost_usd: formatUsd(row.costPicoUsd),
    charge_usd: formatUsd(row.chargePicoUsd),
    hold_usd: formatUsd(row.holdPicoUsd),
    hold_id: row.holdId,
    flags: row.flags,
    finish_reason: row.finishReason,
    admitted_at: toRfc3339(row.admittedAtMs),
    occurred_at: toRfc3339(row.occurredAtMs),
    recorded_at: toRfc3339(row.recordedAtMs),
    latency_ms: wholeMs(row.latencyMs),
    ttft_ms: row.ttftMs === null ? null : wholeMs(row.ttftMs),
    upstream_request_id: row.upstreamRequestId,
    emitter_id: row.emitterId,
    lane: row.lane,
    emitter_seq: row.emitterSeq.toString(),
  };
}

/** A row of `raw_rejection_v1` as JSON; every column is set. */
export function fromRejectionRow(batchId: string, row: RejectionRow): Record<string, unknown> {
  return {
    event_id: row.eventId,
    batch_id: batchId,
    request_id: row.requestId,
    org_id: row.orgId,
    key_id: row.keyId,
    team_id: row.teamId,
    user_id: row.userId,
    model_requested: row.modelRequested,
    reason: row.reason,
    code: row.code,
    occurred_at: toRfc3339(row.occurredAtMs),
    recorded_at: toRfc3339(row.recordedAtMs),
  };
}

/**
 * A row of `rollup_hour` as the sink writes it; every column is set.
 * @param revision of several rows of a cell the one with the highest counts
 */
export function fromRollupCell(
  batchId: string,
  month: number,
  cell: RollupCell,
  revision: bigint,
): Record<string, unknown> {
  return {
    hour: cell.hourMs / 1000,
    org_id: cell.orgId,
    team_id: cell.teamId,
    key_id: cell.keyId,
    user_id: cell.userId,
    provider: cell.provider,
    model: cell.model,
    batch_id: batchId,
    recorded_month: month,
    requests: cell.requests,
    attempts: cell.attempts,
    estimated_attempts: cell.estimatedAttempts,
    tokens_in: cell.tokensIn.toString(),
    tokens_out: cell.tokensOut.toString(),
    usage: Object.fromEntries([...cell.usage].map(([name, units]) => [name, units.toString()])),
    cost_usd: formatUsd(cell.costPicoUsd),
    charge_usd: formatUsd(cell.chargePicoUsd),
    revision: revision.toString(),
    is_deleted: 0,
  };
}

/** A row of `batch_seal`; every column is set. */
export function fromBatchSeal(seal: BatchSeal, sealedAtMs: number): Record<string, unknown> {
  return {
    batch_id: seal.batchId,
    topic: seal.topic,
    partition: seal.partition,
    recorded_month: seal.month,
    row_count: seal.rows,
    cost_usd: formatUsd(seal.costPicoUsd),
    charge_usd: formatUsd(seal.chargePicoUsd),
    first_hour: seal.firstHourMs / 1000,
    last_hour: seal.lastHourMs / 1000,
    sealed_at: toRfc3339(sealedAtMs),
  };
}

function wholeMs(durationMs: number): number {
  return Math.max(0, Math.round(durationMs));
}
