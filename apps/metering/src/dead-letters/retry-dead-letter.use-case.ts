import { laneOf, laneTarget, partitionOfKey, TOPICS } from '#libs/events';
import type { LogRecord } from '#libs/event-log/core';
import type { Clock, KeyId } from '#libs/kernel';
import {
  placeText,
  refuseRetry,
  type OutboxRecord,
  type OutboxWriter,
  type StoredDeadLetter,
  type Transaction,
} from '#libs/platform/postgres';
import type { Logger } from '#libs/platform/telemetry';

import { isNewerMajor } from '../domain/cut-batch.js';
import type { StreamPosition } from '../domain/emitter-streams.js';
import { classify, namedStreamOf, outboxEmitterId } from '../domain/record-class.js';
import type { StreamStore } from '../sink/stream-store.js';

/** What a retry works with. */
export interface RetryDeadLetterParts {
  readonly outbox: OutboxWriter;
  readonly streams: StreamStore;
  readonly clock: Clock;
  readonly logger: Logger;
  /** `LOG_PARTITIONS`. */
  readonly logPartitions: number;
}

/** Headers that name a place in a stream; the record gets one of its own. */
const PLACE_HEADERS = /^(?:ce_emitterid|ce_lane|ce_sequence|outbox_.*)$/;

/**
 * Reads a parked record with the code of today. When it can be read now, it is appended to the log
 * again: in its own place when it had strayed, else as a record of metering's own stream.
 */
export class RetryDeadLetter {
  constructor(private readonly parts: RetryDeadLetterParts) {}

  /**
   * @param letter parked, locked, and without a row in the ledger
   * @throws AppError `dead_letter.unreadable`, `dead_letter.repeat` (conflict)
   */
  async execute(tx: Transaction, letter: StoredDeadLetter): Promise<void> {
    const { outbox, logger } = this.parts;
    const named = letter.faultClass === 'no_stream' ? namedStreamOf(letter.headers) : null;
    if (await this.isRepeat(tx, named)) throw refuseRetry('repeat', REPEAT);
    const record = this.readable(letter, named);
    await outbox.write(tx, [record]);
    const { topic, partition } = record;
    logger.info(
      { letter: placeText(letter), topic, partition },
      'a parked record is appended again',
    );
  }

  /** The record as it is appended again. @throws AppError `dead_letter.unreadable` */
  private readable(letter: StoredDeadLetter, named: StreamPosition | null): OutboxRecord {
    const { clock, logPartitions } = this.parts;
    const { topic, value } = letter;
    const key = letter.key.toString();
    const headers = Object.fromEntries(
      Object.entries(letter.headers).filter(([name]) => !PLACE_HEADERS.test(name)),
    );
    const record: LogRecord = { ...letter, key, headers, appendedAtMs: clock.nowMs() };
    if (topic !== TOPICS.requestCompleted && topic !== TOPICS.requestRejected) {
      throw refuseRetry('unreadable', `topic ${topic} is not one of metering`);
    }
    if (isNewerMajor(record)) throw refuseRetry('unreadable', 'it needs a newer release');
    // Any place will do: what the record says decides, not where it stands.
    const lane = laneOf(topic, letter.partition, logPartitions);
    const stream = { emitterId: outboxEmitterId('metering'), lane, sequence: 1n };
    const item = classify(record, stream, logPartitions);
    if (item.kind !== 'completed' && item.kind !== 'rejected') {
      const why = item.kind === 'dead' ? item.error : 'only its emitter can say that';
      throw refuseRetry('unreadable', `it still cannot be read: ${why}`);
    }
    const told = { key, value, headers: { ...headers, retried_from: placeText(letter) } };
    if (named !== null) return { ...told, ...this.own(letter, named) };
    const { keyId } = item.kind === 'completed' ? item.attempt : item.refusal;
    return { ...told, topic, partition: partitionOfKey(keyId as KeyId, logPartitions) };
  }

  /**
   * A record that strayed goes where its headers say, as part of its emitter's stream: should the
   * emitter send it once more, one of the two is dropped.
   */
  private own(
    { topic, headers }: StoredDeadLetter,
    { lane }: StreamPosition,
  ): Pick<OutboxRecord, 'topic' | 'partition' | 'headers'> {
    const { logPartitions } = this.parts;
    const target = laneTarget(lane, logPartitions);
    if (target.topic !== topic || target.partition >= logPartitions) {
      throw refuseRetry('unreadable', `lane ${lane} is not one of ${topic}`);
    }
    return { ...target, headers };
  }

  /** Whether a record without a valid place is a copy of one that arrived in its own lane. */
  private async isRepeat(tx: Transaction, named: StreamPosition | null): Promise<boolean> {
    if (named === null) return false;
    const [state] = await this.parts.streams.load(tx, [named]);
    if (state === undefined || named.sequence > state.highSeq) return false;
    return !state.gaps.some(
      ({ fromSeq, toSeq }) => fromSeq <= named.sequence && named.sequence <= toSeq,
    );
  }
}

const REPEAT = 'its emitter sent it in its own lane too, and it is in the ledger';
