import { TOPICS, type UsageRatedV1 } from '#libs/events';
import type { LogRecord } from '#libs/event-log/core';
import { assert } from '#libs/kernel';
import type { IdentifiedPrice } from '#libs/pricing/core';
import { tokenTotals } from '#libs/providers/core';
import {
  digestOfRejections,
  digestOfUsage,
  monthOf,
  type BatchDigest,
  type LedgerTable,
  type RejectionRow,
  type UsageRow,
} from '#libs/usage/core';

import { batchIdOf, inputSha256, type BatchRange } from './batch-identity.js';
import { EmitterStreams, type StreamPosition, type StreamState } from './emitter-streams.js';
import { needsPrice, type AttemptEnvelope } from './event-decoder.js';
import { ratedMessage } from './rated-message.js';
import { classify, streamOf, type ClassifiedRecord } from './record-class.js';
import { settle } from './settlement.js';

/** Version of the rules that turn a record into a row; raised when the same record gives another row. */
export const RATER = 2;

/** Records of one partition in offset order, before their prices are known. */
export interface FormedBatch {
  readonly batchId: string;
  readonly range: BatchRange;
  readonly inputSha256: Buffer;
  /** YYYYMM of every row's `recordedAt`. */
  readonly month: number;
  readonly records: readonly ClassifiedRecord[];
  /** Offsets of repeats, ascending; they add nothing. */
  readonly dropped: readonly bigint[];
  /** Streams that moved. */
  readonly streams: readonly { readonly before: StreamState; readonly after: StreamState }[];
  /** Prices needed to rate the batch, each once. */
  readonly priceIds: readonly string[];
}

/** A record to be parked. */
export interface DeadLetter {
  readonly record: LogRecord;
  readonly faultClass: string;
  /** Names the fault, never content of the record. */
  readonly error: string;
  /** Whether a row at the hold is booked in its place. */
  readonly booked: boolean;
}

/** Everything a batch amounts to; the same records and prices give the same plan. */
export interface PlannedBatch extends FormedBatch {
  readonly table: LedgerTable;
  readonly usageRows: readonly UsageRow[];
  readonly rejectionRows: readonly RejectionRow[];
  readonly deadLetters: readonly DeadLetter[];
  readonly digest: BatchDigest;
  /** Event ids of rows whose cost the proxy stated otherwise. */
  readonly mismatches: readonly string[];
  /** Null for a batch of refusals. */
  readonly rated: UsageRatedV1 | null;
}

/** What decides which records are repeats. */
export type Repeats =
  /** A batch formed for the first time: by the emitters' streams as they stand before it. */
  | { readonly by: 'streams'; readonly streams: readonly StreamState[] }
  /** A batch formed again: by what its plan noted. */
  | { readonly by: 'plan'; readonly dropped: ReadonlySet<bigint> };

/** The streams that records belong to, each once: what must be loaded before a batch is formed. */
export function streamsOf(
  records: readonly LogRecord[],
  logPartitions: number,
): readonly { readonly emitterId: string; readonly lane: number }[] {
  const found = new Map<string, { readonly emitterId: string; readonly lane: number }>();
  for (const record of records) {
    const stream = streamOf(record, logPartitions);
    if (stream === null) continue;
    const { emitterId, lane } = stream;
    found.set(`${emitterId}/${lane}`, { emitterId, lane });
  }
  return [...found.values()];
}

/**
 * Forms a batch: drops repeats, classifies the rest, names it.
 * @param records of one partition in offset order, as `cutBatch` yields them; not empty
 */
export function formBatch(
  records: readonly LogRecord[],
  repeats: Repeats,
  logPartitions: number,
): FormedBatch {
  const first = records[0];
  const last = records.at(-1);
  assert(first !== undefined && last !== undefined, 'a batch has records');
  const streams = new EmitterStreams(repeats.by === 'streams' ? repeats.streams : []);
  const dropped: bigint[] = [];
  const kept: ClassifiedRecord[] = [];
  for (const record of records) {
    const stream = streamOf(record, logPartitions);
    const isRepeat =
      repeats.by === 'plan'
        ? repeats.dropped.has(record.offset)
        : stream !== null && !streams.accept(stream);
    if (isRepeat) dropped.push(record.offset);
    else kept.push(classify(record, stream));
  }
  const range: BatchRange = {
    topic: first.topic,
    partition: first.partition,
    first: first.offset,
    last: last.offset,
  };
  const input = inputSha256(records);
  return {
    batchId: batchIdOf(range, input),
    range,
    inputSha256: input,
    month: monthOf(first.appendedAtMs),
    records: kept,
    dropped,
    streams: streams.changes(),
    priceIds: [...new Set(kept.flatMap(priceIdsOf))],
  };
}

function priceIdsOf(record: ClassifiedRecord): readonly string[] {
  if (record.kind !== 'completed' || !needsPrice(record.attempt)) return [];
  return record.attempt.priceId === null ? [] : [record.attempt.priceId];
}

/**
 * Rates a formed batch.
 * @param prices has every id of `formed.priceIds`
 */
export function planBatch(
  formed: FormedBatch,
  prices: ReadonlyMap<string, IdentifiedPrice>,
): PlannedBatch {
  const usageRows: UsageRow[] = [];
  const teamLabels = new Set<UsageRow>();
  const rejectionRows: RejectionRow[] = [];
  const deadLetters: DeadLetter[] = [];
  const mismatches: string[] = [];
  for (const item of formed.records) {
    if (item.kind === 'completed') {
      const { row, isMismatch } = usageRow(item, prices);
      usageRows.push(row);
      if (item.attempt.teamIsLabel) teamLabels.add(row);
      if (isMismatch) mismatches.push(row.eventId);
    } else if (item.kind === 'rejected') {
      rejectionRows.push({ ...item.refusal, recordedAtMs: item.record.appendedAtMs });
    } else {
      const { record, faultClass, error, booking } = item;
      deadLetters.push({ record, faultClass, error, booked: booking !== null });
      if (booking === null) continue;
      const row = bookedRow(record, booking.stream, booking.envelope);
      usageRows.push(row);
      if (booking.envelope.teamIsLabel) teamLabels.add(row);
    }
  }
  const isUsage = formed.range.topic === TOPICS.requestCompleted;
  const streams = formed.streams.map(({ after }) => after);
  const charged = usageRows.map((row) => (teamLabels.has(row) ? { ...row, teamId: null } : row));
  return {
    ...formed,
    table: isUsage ? 'usage' : 'rejection',
    usageRows,
    rejectionRows,
    deadLetters,
    digest: isUsage ? digestOfUsage(usageRows) : digestOfRejections(rejectionRows),
    mismatches,
    rated: isUsage ? ratedMessage(formed.batchId, formed.range, charged, streams) : null,
  };
}

function usageRow(
  { record, stream, attempt }: Extract<ClassifiedRecord, { kind: 'completed' }>,
  prices: ReadonlyMap<string, IdentifiedPrice>,
): { readonly row: UsageRow; readonly isMismatch: boolean } {
  const {
    statedCostPicoUsd: _cost,
    statedChargePicoUsd: _charge,
    teamIsLabel: _label,
    ...facts
  } = attempt;
  const priceId = needsPrice(attempt) ? attempt.priceId : null;
  const entry = priceId === null ? null : prices.get(priceId);
  assert(entry !== undefined, 'every price of a batch is loaded before it is rated');
  const { isMismatch, ...settled } = settle(attempt, entry);
  return {
    isMismatch,
    row: {
      ...facts,
      ...settled,
      ...tokenTotals(attempt.usage),
      usage: attempt.usage,
      recordedAtMs: record.appendedAtMs,
      emitterId: stream.emitterId,
      lane: stream.lane,
      emitterSeq: stream.sequence,
    },
  };
}

/** The row that keeps a broken record's money booked until the record is put right. */
function bookedRow(record: LogRecord, stream: StreamPosition, envelope: AttemptEnvelope): UsageRow {
  const { teamIsLabel: _label, ...facts } = envelope;
  return {
    ...facts,
    final: true,
    modelRequested: envelope.model,
    modelServed: null,
    operation: 'chat',
    stream: false,
    serviceTier: null,
    status: 'unknown',
    httpStatus: null,
    provenance: 'estimated_hold',
    usageSource: 'none',
    source: 'proxy',
    rawUsage: null,
    usage: {},
    tokensIn: 0,
    tokensOut: 0,
    priceId: null,
    priceVersion: '',
    priceState: 'unknown',
    costPicoUsd: envelope.holdPicoUsd,
    chargePicoUsd: envelope.holdPicoUsd,
    flags: ['dead_letter'],
    finishReason: null,
    admittedAtMs: record.appendedAtMs,
    occurredAtMs: record.appendedAtMs,
    recordedAtMs: record.appendedAtMs,
    latencyMs: 0,
    ttftMs: null,
    upstreamRequestId: null,
    emitterId: stream.emitterId,
    lane: stream.lane,
    emitterSeq: stream.sequence,
  };
}
