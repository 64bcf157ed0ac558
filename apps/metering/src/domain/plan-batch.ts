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
import type { EmitterRange } from './emitter-range.js';
import { EmitterStreams, type StreamPosition, type StreamState } from './emitter-streams.js';
import { needsPrice, type AttemptEnvelope } from './event-decoder.js';
import { ratedMessage } from './rated-message.js';
import {
  classify,
  refused,
  relayedStreamOf,
  streamOf,
  type ClassifiedRecord,
} from './record-class.js';
import { settle } from './settlement.js';

/** Version of the rules that turn a record into a row; raised when the same record gives another row. */
export const RATER = 2;

/** Records of one partition in offset order, before their prices are known. */
export interface FormedBatch {
  readonly batchId: string;
  readonly range: BatchRange;
  /** Offset of the first record; beyond `range.first` when those before it were gone or stepped over. */
  readonly readFrom: bigint;
  readonly inputSha256: Buffer;
  /** YYYYMM of every row's `recordedAt`. */
  readonly month: number;
  readonly records: readonly ClassifiedRecord[];
  /** Offsets of repeats, ascending; they add nothing. */
  readonly dropped: readonly bigint[];
  /** Offsets of records whose rows the ledger refuses: booked at the hold, and not at all. */
  readonly refused: readonly bigint[];
  readonly unbooked: readonly bigint[];
  /** Ranges that emitters say are gone. */
  readonly lost: readonly EmitterRange[];
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

/** How a batch is formed. */
export interface Forming {
  /** `LOG_PARTITIONS`. */
  readonly logPartitions: number;
  /** The emitters' streams as they stand before it; they decide which records are repeats. */
  readonly streams: readonly StreamState[];
  /** Where the range begins when records before the first are gone from the log or stepped over. */
  readonly first?: bigint;
  /** What the plan noted, for a batch that is formed again: it decides, not the streams. */
  readonly noted?: NotedRecords;
}

/** Records of a batch that are not what they look like, by offset. */
export interface NotedRecords {
  /** Repeats; null when the streams are to decide. */
  readonly dropped: ReadonlySet<bigint> | null;
  /** Their rows are refused by the ledger, which takes a row at the hold. */
  readonly refused: ReadonlySet<bigint>;
  /** The ledger takes no row of them at all. */
  readonly unbooked: ReadonlySet<bigint>;
}

/** The streams that records belong to, each once: what must be loaded before a batch is formed. */
export function streamsOf(
  records: readonly LogRecord[],
  logPartitions: number,
): readonly { readonly emitterId: string; readonly lane: number }[] {
  const found = new Map<string, { readonly emitterId: string; readonly lane: number }>();
  for (const record of records) {
    for (const stream of [
      streamOf(record, logPartitions),
      relayedStreamOf(record, logPartitions),
    ]) {
      if (stream === null) continue;
      const { emitterId, lane } = stream;
      found.set(`${emitterId}/${lane}`, { emitterId, lane });
    }
  }
  return [...found.values()];
}

/**
 * Forms a batch: drops repeats, classifies the rest, names it.
 * @param records of one partition in offset order, as `cutBatch` yields them; not empty
 */
export function formBatch(
  records: readonly LogRecord[],
  { logPartitions, streams: known, first: from, noted }: Forming,
): FormedBatch {
  const first = records[0];
  const last = records.at(-1);
  assert(first !== undefined && last !== undefined, 'a batch has records');
  const streams = new EmitterStreams(known);
  const dropped: bigint[] = [];
  const kept: ClassifiedRecord[] = [];
  for (const record of records) {
    const stream = streamOf(record, logPartitions);
    const relayed = relayedStreamOf(record, logPartitions);
    const { offset } = record;
    // It has arrived as what its outbox numbered, whether it is news or a repeat.
    if (relayed !== null) streams.accept(relayed);
    const wasDropped = noted?.dropped?.has(offset);
    // A repeat moves no stream, whoever says that it is one.
    const isNews = wasDropped !== true && (stream === null || streams.accept(stream));
    if (wasDropped ?? !isNews) dropped.push(offset);
    else if (noted?.unbooked.has(offset) === true) kept.push(refused(record, stream, false));
    else if (noted?.refused.has(offset) === true) kept.push(refused(record, stream, true));
    else kept.push(classify(record, stream, logPartitions));
  }
  const range: BatchRange = {
    topic: first.topic,
    partition: first.partition,
    first: from ?? first.offset,
    last: last.offset,
  };
  const input = inputSha256(records);
  return {
    batchId: batchIdOf(range, input),
    range,
    readFrom: first.offset,
    inputSha256: input,
    month: monthOf(first.appendedAtMs),
    records: kept,
    dropped,
    refused: [...(noted?.refused ?? [])],
    unbooked: [...(noted?.unbooked ?? [])],
    streams: streams.changes(),
    lost: kept.flatMap((item) => (item.kind === 'lost' ? [item.range] : [])),
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
    } else if (item.kind === 'dead') {
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
