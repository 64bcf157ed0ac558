import { randomUUID } from 'node:crypto';

import { picoUsd } from '#libs/kernel';
import type { UsageRow } from '#libs/usage/core';

/** When the rows are recorded: 2026-11-20T10:00:00Z, milliseconds UTC. */
export const BENCH_TIME_MS = Date.UTC(2026, 10, 20, 10);
/** The month of `BENCH_TIME_MS`. */
export const BENCH_MONTH = 202611;

/** A row of a measured attempt with ids of its own. */
export function benchUsageRow(changes: Partial<UsageRow> = {}): UsageRow {
  return {
    eventId: randomUUID(),
    requestId: randomUUID(),
    attempt: 1,
    final: true,
    orgId: 'default',
    keyId: '6f9619ff-8b86-4011-b42d-00c04fc964ff',
    teamId: null,
    userId: 'alice',
    provider: 'openai',
    modelRequested: 'gpt-4o-mini',
    model: 'gpt-4o-mini',
    modelServed: null,
    operation: 'chat',
    stream: false,
    serviceTier: null,
    status: 'ok',
    httpStatus: 200,
    provenance: 'measured',
    usageSource: 'provider_final',
    source: 'proxy',
    rawUsage: '{"prompt_tokens":100,"completion_tokens":20}',
    usage: { input_text: 100, output_text: 20 },
    tokensIn: 100,
    tokensOut: 20,
    priceId: 'ab'.repeat(32),
    priceVersion: 'v1',
    priceState: 'priced',
    costPicoUsd: picoUsd(27_000_000n),
    chargePicoUsd: picoUsd(30_000_000n),
    holdPicoUsd: picoUsd(90_000_000n),
    holdId: randomUUID(),
    flags: [],
    finishReason: 'stop',
    admittedAtMs: BENCH_TIME_MS - 500,
    occurredAtMs: BENCH_TIME_MS,
    recordedAtMs: BENCH_TIME_MS,
    latencyMs: 480,
    ttftMs: null,
    upstreamRequestId: null,
    emitterId: 'ee'.repeat(16),
    lane: 0,
    emitterSeq: 1n,
    ...changes,
  };
}
