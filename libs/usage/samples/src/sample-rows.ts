import { createHash, randomUUID } from 'node:crypto';

import { picoUsd } from '#libs/kernel';
import {
  cellsOf,
  digestOfUsage,
  hoursOf,
  monthOf,
  type BatchSeal,
  type RejectionRow,
  type UsageFilter,
  type UsageRow,
  type UsageStore,
} from '#libs/usage/core';

/** When sample rows are recorded unless they say otherwise: 2026-11-20T10:00:00Z, milliseconds UTC. */
export const SAMPLE_TIME_MS = Date.UTC(2026, 10, 20, 10);

/** The month of `SAMPLE_TIME_MS`. */
export const SAMPLE_MONTH = 202611;

/** A row of an attempt with ids of its own. */
export function sampleUsageRow(changes: Partial<UsageRow> = {}): UsageRow {
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
    admittedAtMs: SAMPLE_TIME_MS - 500,
    occurredAtMs: SAMPLE_TIME_MS,
    recordedAtMs: SAMPLE_TIME_MS,
    latencyMs: 480,
    ttftMs: null,
    upstreamRequestId: null,
    emitterId: 'ee'.repeat(16),
    lane: 0,
    emitterSeq: 1n,
    ...changes,
  };
}

/** A row of a refusal with ids of its own. */
export function sampleRejectionRow(changes: Partial<RejectionRow> = {}): RejectionRow {
  return {
    eventId: randomUUID(),
    requestId: randomUUID(),
    orgId: 'default',
    keyId: '6f9619ff-8b86-4011-b42d-00c04fc964ff',
    teamId: null,
    userId: 'alice',
    modelRequested: null,
    reason: 'budget',
    code: 'budget_exceeded',
    occurredAtMs: SAMPLE_TIME_MS,
    recordedAtMs: SAMPLE_TIME_MS,
    ...changes,
  };
}

/** Everything of one organisation in the hour of `SAMPLE_TIME_MS`. */
export function sampleFilter(changes: Partial<UsageFilter> = {}): UsageFilter {
  return {
    orgId: 'default',
    startMs: SAMPLE_TIME_MS,
    endMs: SAMPLE_TIME_MS + 3_600_000,
    keyIds: [],
    teamIds: [],
    userIds: [],
    models: [],
    providers: [],
    ...changes,
  };
}

/** The seal of a batch of attempts. @param rows not empty, recorded in one month */
export function sampleSeal(batchId: string, rows: readonly UsageRow[]): BatchSeal {
  const { xor64: _xor, ...sums } = digestOfUsage(rows);
  const month = monthOf(rows[0]!.recordedAtMs);
  return { batchId, topic: 'request.completed', partition: 0, month, ...sums, ...hoursOf(rows) };
}

/** Stores rows, which were recorded in one month, as one batch with rollup and seal. @returns its id */
export async function storeBatch(store: UsageStore, rows: readonly UsageRow[]): Promise<string> {
  const batchId = createHash('sha256').update(randomUUID()).digest('hex');
  await store.insertUsage({ batchId, token: batchId }, rows);
  const month = monthOf(rows[0]!.recordedAtMs);
  await store.insertCells({ batchId, token: `${batchId}:roll` }, month, cellsOf(rows));
  await store.insertSeals([sampleSeal(batchId, rows)], SAMPLE_TIME_MS);
  return batchId;
}
