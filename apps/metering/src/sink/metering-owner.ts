import { PartitionOwner, type EventLog, type PartitionBounds } from '#libs/event-log/core';
import { AppError, type Clock } from '#libs/kernel';
import { PartitionPositions, type Database, type OutboxWriter } from '#libs/platform/postgres';
import type { Logger } from '#libs/platform/telemetry';

import { resendRequest } from '../domain/emitter-range.js';
import { holesBefore } from '../domain/emitter-streams.js';
import { streamsOf } from '../domain/plan-batch.js';
import { streamOf } from '../domain/record-class.js';

import type { BatchSink } from './batch-sink.js';
import type { OwnedPartition } from './owned-partition.js';
import type { PartitionHealth } from './partition-health.js';

/**
 * Batches that were finished in the last so many seconds of a partition's work are verified once after
 * a start: what a power failure took, however long it lasted.
 */
const VERIFY_SECONDS = 600;
/** What is read of a partition that lost records, to see whose they were. */
const PEEK = { maxRecords: 5_000, maxBytes: 8 * 1024 * 1024 };
/** Pause between two questions for what one partition lost, milliseconds. */
const ASK_EVERY_MS = 600_000;

/** What the owner works with. */
export interface MeteringOwnerParts {
  readonly database: Database;
  readonly eventLog: EventLog;
  readonly sink: BatchSink;
  readonly health: PartitionHealth;
  readonly outbox: OutboxWriter;
  readonly clock: Clock;
  readonly logger: Logger;
  /** `LOG_PARTITIONS`. */
  readonly logPartitions: number;
}

/**
 * Metering's offsets and fences, in schema `metering`. Taking a partition finishes the batch that a
 * former owner left prepared; the first time in a process it also verifies the newest finished ones.
 */
export class MeteringOwner extends PartitionOwner {
  private readonly positions = new PartitionPositions();
  private readonly verified = new Set<string>();
  /** When the emitters of a partition that lost records were asked last, monotonic. */
  private readonly askedAtMs = new Map<string, number>();
  private readonly stopping = new AbortController();

  constructor(private readonly parts: MeteringOwnerParts) {
    super();
  }

  /** Ends waits inside `take`; the partition is taken again elsewhere. */
  stop(): void {
    this.stopping.abort();
  }

  async take(
    topic: string,
    partition: number,
    bounds: PartitionBounds,
  ): Promise<{ readonly epoch: bigint; readonly nextOffset: bigint }> {
    let isMoving = true;
    const take = async () => {
      const { database, sink } = this.parts;
      const taken = await this.positions.take(database, topic, partition, bounds.earliest);
      const owned: OwnedPartition = { topic, partition, epoch: taken.epoch };
      // An unfinished batch whose records are gone can never be formed again: that is told first.
      await this.refuseHole(owned, await this.unplannedFrom(owned, taken.nextOffset));
      const nextOffset = await sink.settleEarlier(owned, this.stopping.signal);
      await this.verifyLast(owned);
      await this.refuseHole(owned, nextOffset);
      isMoving = nextOffset > taken.nextOffset || nextOffset >= bounds.next;
      return { epoch: taken.epoch, nextOffset };
    };
    return this.parts.health.watch('take', topic, partition, take, () => isMoving);
  }

  private async verifyLast(owned: OwnedPartition): Promise<void> {
    const { topic, partition } = owned;
    const key = `${topic}/${partition}`;
    if (this.verified.has(key)) return;
    const { database, sink } = this.parts;
    const last = await sink.plans.lastDone(database, topic, partition, VERIFY_SECONDS);
    await sink.finished.verify(owned, last, this.stopping.signal);
    const batchIds = last.map(({ batchId }) => batchId);
    await sink.seals.reopen(database, topic, partition, VERIFY_SECONDS, batchIds);
    this.verified.add(key);
  }

  /** Where the records begin that no finished batch covers. */
  private async unplannedFrom(owned: OwnedPartition, stored: bigint): Promise<bigint> {
    const { database, sink } = this.parts;
    const through = await sink.plans.doneThrough(database, owned.topic, owned.partition);
    return through === null || stored > through ? stored : through + 1n;
  }

  /** Never jumps: records that the log no longer has, or lost, are a case for people. */
  private async refuseHole(owned: OwnedPartition, nextOffset: bigint): Promise<void> {
    const { topic, partition } = owned;
    const bounds = await this.parts.eventLog.bounds(topic, partition);
    if (nextOffset >= bounds.earliest && nextOffset <= bounds.next) return;
    const isExpired = nextOffset < bounds.earliest;
    if (isExpired) await this.askForExpired(owned, bounds.earliest);
    const { database, sink } = this.parts;
    const unfinished = await sink.plans.unfinished(database, topic, partition);
    const afterPlan = unfinished === null ? 0n : unfinished.range.last + 1n;
    const goesOnAt = afterPlan > bounds.earliest ? afterPlan : bounds.earliest;
    throw new AppError({
      code: isExpired ? 'metering.log_expired' : 'metering.log_truncated',
      kind: 'internal',
      publicMessage: 'internal error',
      internalMessage:
        `${topic}/${partition} holds offsets ${bounds.earliest} to ${bounds.next}, ` +
        `but ${nextOffset} is to be read next` +
        (isExpired ? `; next_offset ${goesOnAt} goes on and asks the emitters for the rest` : ''),
    });
  }

  /**
   * Asks the emitters for what is between their streams and the first records that are left: they
   * keep it for a day only, and the partition may wait longer for people.
   */
  private async askForExpired(owned: OwnedPartition, earliest: bigint): Promise<void> {
    const { topic, partition } = owned;
    const { database, eventLog, sink, outbox, clock, logger, logPartitions } = this.parts;
    const key = `${topic}/${partition}`;
    const nowMs = clock.monotonicMs();
    if (nowMs - (this.askedAtMs.get(key) ?? -Infinity) < ASK_EVERY_MS) return;
    const records = await eventLog.read(topic, partition, earliest, PEEK);
    const known = await sink.streams.load(database, streamsOf(records, logPartitions));
    const positions = records.map((record) => streamOf(record, logPartitions));
    const holes = holesBefore(
      known,
      positions.filter((position) => position !== null),
    );
    await database.transaction((tx) =>
      outbox.write(
        tx,
        holes.map((hole) => resendRequest(hole, 1, clock.nowMs())),
      ),
    );
    this.askedAtMs.set(key, nowMs);
    logger.error(
      { topic, partition, ranges: holes.length },
      'unread records are gone from the log',
    );
  }
}
