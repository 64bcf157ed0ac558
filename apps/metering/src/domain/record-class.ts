import { createHash } from 'node:crypto';

import {
  EMITTER_LOST_V1,
  laneOf,
  laneTarget,
  parseEventType,
  REQUEST_COMPLETED_V1,
  REQUEST_REJECTED_V1,
  TOPICS,
} from '#libs/events';
import type { LogRecord } from '#libs/event-log/core';

import {
  decodeCompleted,
  decodeEnvelope,
  decodeRejected,
  type AttemptEnvelope,
  type CompletedAttempt,
  type RejectedRequest,
} from './event-decoder.js';
import { decodeLost, type EmitterRange } from './emitter-range.js';
import type { StreamPosition } from './emitter-streams.js';
import { RecordFault } from './field-reader.js';

/** What a record turned out to be. */
export type ClassifiedRecord =
  | {
      readonly kind: 'completed';
      readonly record: LogRecord;
      readonly stream: StreamPosition;
      readonly attempt: CompletedAttempt;
    }
  | {
      readonly kind: 'rejected';
      readonly record: LogRecord;
      readonly stream: StreamPosition;
      readonly refusal: RejectedRequest;
    }
  | {
      /** The emitter says that a range of its stream is gone. */
      readonly kind: 'lost';
      readonly record: LogRecord;
      readonly stream: StreamPosition;
      readonly range: EmitterRange;
    }
  | {
      readonly kind: 'dead';
      readonly record: LogRecord;
      readonly faultClass: string;
      readonly error: string;
      /** What can be booked of it; null when it cannot be said whose money it is. */
      readonly booking: {
        readonly stream: StreamPosition;
        readonly envelope: AttemptEnvelope;
      } | null;
    };

const DAY_MS = 86_400_000;
/** Oldest and newest a record may say it is, against its append time, milliseconds. */
const PAST_MS = 35 * DAY_MS;
const FUTURE_MS = 5 * 60_000;
/** Sequences fit a signed 64-bit column. */
const MAX_SEQUENCE = 2n ** 63n - 1n;

/** The emitter that the outbox of a service is. @returns 32 hex digits */
export function outboxEmitterId(service: string): string {
  return createHash('sha256').update('outbox').update(service).digest('hex').slice(0, 32);
}

/** Metering as an emitter: its outbox, from which parked records are appended again. */
export const OWN_EMITTER_ID = outboxEmitterId('metering');

/**
 * The place of a record in its emitter's stream, from its headers. A record out of an outbox is in
 * the stream of that outbox, whose sequences are free of gaps per topic and partition.
 * @returns null when it has none, a malformed one, or one that belongs to another partition
 */
export function streamOf(record: LogRecord, logPartitions: number): StreamPosition | null {
  if (record.headers['ce_emitterid'] === undefined) return outboxStreamOf(record, logPartitions);
  const named = namedStreamOf(record.headers);
  if (named === null) return null;
  const target = laneTarget(named.lane, logPartitions);
  return target.topic === record.topic && target.partition === record.partition ? named : null;
}

/**
 * The place in the stream of the outbox that a record of another emitter came through; null when it
 * came through none. The outbox has numbered it too.
 */
export function relayedStreamOf(record: LogRecord, logPartitions: number): StreamPosition | null {
  return record.headers['ce_emitterid'] === undefined
    ? null
    : outboxStreamOf(record, logPartitions);
}

/** The place that headers name, wherever the record lies; null when they name none. */
export function namedStreamOf(headers: LogRecord['headers']): StreamPosition | null {
  const { ce_emitterid: emitterId, ce_lane: lane, ce_sequence: text } = headers;
  if (emitterId === undefined || !/^[0-9a-f]{32}$/.test(emitterId)) return null;
  if (lane === undefined || !/^\d{1,6}$/.test(lane)) return null;
  if (text === undefined || !/^[1-9]\d{0,18}$/.test(text)) return null;
  const sequence = BigInt(text);
  return sequence > MAX_SEQUENCE ? null : { emitterId, lane: Number(lane), sequence };
}

function outboxStreamOf(record: LogRecord, logPartitions: number): StreamPosition | null {
  const { outbox_source: service, outbox_lane: lane, outbox_seq: text } = record.headers;
  const { topic, partition } = record;
  if (service === undefined || lane !== String(partition)) return null;
  if (text === undefined || !/^[1-9]\d{0,17}$/.test(text)) return null;
  if (topic !== TOPICS.requestCompleted && topic !== TOPICS.requestRejected) return null;
  return {
    emitterId: outboxEmitterId(service),
    lane: laneOf(topic, partition, logPartitions),
    sequence: BigInt(text),
  };
}

/**
 * Decides what a record is. Deterministic: the same record is the same for ever.
 * @param stream its place as `streamOf` found it
 */
export function classify(
  record: LogRecord,
  stream: StreamPosition | null,
  logPartitions: number,
): ClassifiedRecord {
  if (stream === null) {
    return dead(record, null, new RecordFault('no_stream', 'no valid emitter, lane and sequence'));
  }
  try {
    const type = record.headers['ce_type'] ?? '';
    if (record.topic === TOPICS.requestCompleted && type === REQUEST_COMPLETED_V1) {
      const attempt = decodeCompleted(record.value);
      refuseImplausible(record, attempt.occurredAtMs, 'occurred_at');
      refuseImplausible(record, attempt.admittedAtMs, 'admitted_at');
      return { kind: 'completed', record, stream, attempt };
    }
    if (record.topic === TOPICS.requestCompleted && type === EMITTER_LOST_V1) {
      const { value, partition } = record;
      const range = decodeLost(value, stream.emitterId, partition, logPartitions);
      return { kind: 'lost', record, stream, range };
    }
    if (record.topic === TOPICS.requestRejected && type === REQUEST_REJECTED_V1) {
      const refusal = decodeRejected(record.value);
      refuseImplausible(record, refusal.occurredAtMs, 'occurred_at');
      return { kind: 'rejected', record, stream, refusal };
    }
    const known =
      parseEventType(type) === null ? 'no event type' : 'an event type of another topic';
    throw new RecordFault('unknown_type', `the header ce_type is ${known}`);
  } catch (error) {
    if (error instanceof RecordFault) return dead(record, stream, error);
    throw error;
  }
}

function refuseImplausible(record: LogRecord, timeMs: number, name: string): void {
  const ageMs = record.appendedAtMs - timeMs;
  if (ageMs <= PAST_MS && ageMs >= -FUTURE_MS) return;
  throw new RecordFault('implausible_time', `${name} is too far from the time of recording`);
}

/**
 * A record whose row the ledger refuses.
 * @param isBookable whether the ledger takes a row at the hold in its place
 */
export function refused(
  record: LogRecord,
  stream: StreamPosition | null,
  isBookable: boolean,
): ClassifiedRecord {
  const fault = new RecordFault('row_refused', 'the ledger refuses its row');
  const item = dead(record, stream, fault);
  return isBookable ? item : { ...item, booking: null };
}

function dead(
  record: LogRecord,
  stream: StreamPosition | null,
  fault: RecordFault,
): Extract<ClassifiedRecord, { kind: 'dead' }> {
  const envelope =
    stream !== null && record.topic === TOPICS.requestCompleted
      ? decodeEnvelope(record.value)
      : null;
  return {
    kind: 'dead',
    record,
    faultClass: fault.faultClass,
    error: fault.message,
    booking: stream === null || envelope === null ? null : { stream, envelope },
  };
}
