import { PartitionOwner, type EventLog, type PartitionBounds } from '#libs/event-log/core';
import { AppError } from '#libs/kernel';
import { PartitionPositions, type Database } from '#libs/platform/postgres';

import type { BatchSink } from './batch-sink.js';
import type { OwnedPartition } from './owned-partition.js';
import type { PartitionHealth } from './partition-health.js';

/** Finished batches younger than this are verified once after a start, seconds. */
const VERIFY_SECONDS = 600;

/** What the owner works with. */
export interface MeteringOwnerParts {
  readonly database: Database;
  readonly eventLog: EventLog;
  readonly sink: BatchSink;
  readonly health: PartitionHealth;
}

/**
 * Metering's offsets and fences, in schema `metering`. Taking a partition finishes the batch that a
 * former owner left prepared; the first time in a process it also verifies the newest finished ones.
 */
export class MeteringOwner extends PartitionOwner {
  private readonly positions = new PartitionPositions();
  private readonly verified = new Set<string>();
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
    return this.parts.health.watch(topic, partition, async () => {
      const { database, sink } = this.parts;
      const taken = await this.positions.take(database, topic, partition, bounds.earliest);
      const owned: OwnedPartition = { topic, partition, epoch: taken.epoch };
      const nextOffset = await sink.settleEarlier(owned, this.stopping.signal);
      await this.verifyRecent(owned);
      await this.refuseHole(owned, nextOffset);
      return { epoch: taken.epoch, nextOffset };
    });
  }

  private async verifyRecent(owned: OwnedPartition): Promise<void> {
    const { topic, partition } = owned;
    const key = `${topic}/${partition}`;
    if (this.verified.has(key)) return;
    const { database, sink } = this.parts;
    const recent = await sink.plans.recentlyDone(database, topic, partition, VERIFY_SECONDS);
    for (const plan of recent) await sink.verifyDone(owned, plan, this.stopping.signal);
    this.verified.add(key);
  }

  /** Never jumps: records that the log no longer has, or lost, are a case for people. */
  private async refuseHole(
    { topic, partition }: OwnedPartition,
    nextOffset: bigint,
  ): Promise<void> {
    const bounds = await this.parts.eventLog.bounds(topic, partition);
    if (nextOffset >= bounds.earliest && nextOffset <= bounds.next) return;
    throw new AppError({
      code: nextOffset < bounds.earliest ? 'metering.log_expired' : 'metering.log_truncated',
      kind: 'internal',
      publicMessage: 'internal error',
      internalMessage:
        `${topic}/${partition} holds offsets ${bounds.earliest} to ${bounds.next}, ` +
        `but ${nextOffset} is to be read next`,
    });
  }
}
