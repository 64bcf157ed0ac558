import {
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

/** The message that asks an emitter to send a range once more. @param asks how often before */
export function resendRequest(range: EmitterRange, asks: number, nowMs: number): LogRecordInput {
  const data: EmitterRangeV1 = {
    emitter_id: range.emitterId,
    lane: range.lane,
    from_seq: range.fromSeq.toString(),
    to_seq: range.toSeq.toString(),
  };
  const headers = eventHeaders({
    id: `${data.emitter_id}.${data.lane}.${data.from_seq}-${data.to_seq}.${asks}`,
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
