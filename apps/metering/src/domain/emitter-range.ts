import {
  EMITTER_LOST_V1,
  EMITTER_RESEND_V1,
  eventHeaders,
  laneTarget,
  TOPICS,
  type EmitterRangeV1,
} from '#libs/events';
import type { LogRecordInput } from '#libs/event-log/core';
import { toRfc3339 } from '#libs/kernel';

import type { SequenceGap } from './emitter-streams.js';
import { FieldReader, readObject, RecordFault } from './field-reader.js';

/** A run of one emitter's sequence in one lane. */
export interface EmitterRange extends SequenceGap {
  readonly emitterId: string;
  readonly lane: number;
}

const MAX_SEQUENCE = 2n ** 63n - 1n;

function readSequence(fields: FieldReader, name: string): bigint {
  const text = fields.text(name, 19);
  const sequence = /^[1-9]\d*$/.test(text) ? BigInt(text) : 0n;
  if (sequence < 1n || sequence > MAX_SEQUENCE) throw fields.fault(name, 'a sequence from 1 on');
  return sequence;
}

/**
 * Decodes the value of an `emitter.lost.v1` record.
 * @param from the emitter whose stream the record is in: only it may say so
 * @param partition the partition of the record; the lane it speaks of has the same number
 * @throws RecordFault when it can never be read, or speaks of another emitter or partition
 */
export function decodeLost(
  value: Uint8Array,
  from: string,
  partition: number,
  logPartitions: number,
): EmitterRange {
  const fields = new FieldReader(readObject(value));
  const emitterId = fields.hex('emitter_id', 32);
  const lane = fields.integer('lane', 0, 2 * logPartitions - 1);
  const range = {
    emitterId,
    lane,
    fromSeq: readSequence(fields, 'from_seq'),
    toSeq: readSequence(fields, 'to_seq'),
  };
  if (emitterId !== from) throw new RecordFault('malformed', 'emitter_id must be the sender');
  if (laneTarget(lane, logPartitions).partition !== partition) {
    throw new RecordFault('malformed', 'lane must be one of the same partition');
  }
  if (range.fromSeq > range.toSeq) throw new RecordFault('malformed', 'to_seq is below from_seq');
  return range;
}

/** The record by which an emitter of ours says that a range of its stream is gone for good. */
export function lostReport(
  range: EmitterRange,
  nowMs: number,
  logPartitions: number,
): LogRecordInput {
  const data = rangeData(range);
  const headers = eventHeaders({
    id: `${rangeName(data)}.lost`,
    type: EMITTER_LOST_V1,
    service: 'metering',
    time: toRfc3339(nowMs),
    subject: data.emitter_id,
    partitionKey: data.emitter_id,
  });
  return {
    topic: TOPICS.requestCompleted,
    partition: laneTarget(range.lane, logPartitions).partition,
    key: data.emitter_id,
    headers: { ...headers },
    value: Buffer.from(JSON.stringify(data)),
  };
}

/** The message that asks an emitter to send a range once more. @param asks how often before */
export function resendRequest(range: EmitterRange, asks: number, nowMs: number): LogRecordInput {
  const data = rangeData(range);
  const headers = eventHeaders({
    id: `${rangeName(data)}.${asks}`,
    type: EMITTER_RESEND_V1,
    service: 'metering',
    time: toRfc3339(nowMs),
    subject: data.emitter_id,
    partitionKey: data.emitter_id,
  });
  return {
    topic: TOPICS.emitterResend,
    partition: 0,
    key: data.emitter_id,
    headers: { ...headers },
    value: Buffer.from(JSON.stringify(data)),
  };
}

function rangeData({ emitterId, lane, fromSeq, toSeq }: EmitterRange): EmitterRangeV1 {
  return { emitter_id: emitterId, lane, from_seq: String(fromSeq), to_seq: String(toSeq) };
}

function rangeName({ emitter_id, lane, from_seq, to_seq }: EmitterRangeV1): string {
  return `${emitter_id}.${lane}.${from_seq}-${to_seq}`;
}
