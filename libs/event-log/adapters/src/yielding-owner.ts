import type { PartitionPositions, Database } from '#libs/platform/postgres';

import { PartitionOwner, type EventLog, type PartitionBounds } from '../../core/src/index.js';

/** What the owner works with. */
export interface YieldingOwnerParts {
  /** Acts as the role of the consumer. */
  readonly database: Database;
  readonly positions: PartitionPositions;
  readonly eventLog: Pick<EventLog, 'bounds'>;
  /** Told of a log that has lost its end: what this consumer had read lies beyond. */
  readonly onLostEnd: (at: {
    readonly topic: string;
    readonly partition: number;
    readonly nextOffset: string;
    readonly endOfLog: string;
  }) => void;
}

/**
 * Offsets and fences of a consumer in its own schema that yields to a log which has lost its end: it
 * reads on from where the log ends now, instead of standing still until the log has grown past what
 * was read. For consumers whose effects may be repeated and that find out by themselves what they
 * missed. A new partition is read from its start.
 */
export class YieldingOwner extends PartitionOwner {
  constructor(private readonly parts: YieldingOwnerParts) {
    super();
  }

  async take(
    topic: string,
    partition: number,
    bounds: PartitionBounds,
  ): Promise<{ readonly epoch: bigint; readonly nextOffset: bigint }> {
    const { database, positions, eventLog, onLostEnd } = this.parts;
    const taken = await positions.take(database, topic, partition, bounds.earliest);
    if (taken.nextOffset <= bounds.next) return taken;
    // The bounds are older than the take: another member may have read what came in between.
    const { next } = await eventLog.bounds(topic, partition);
    if (taken.nextOffset <= next) return taken;
    await positions.stepBack(database, topic, partition, taken.epoch, next);
    const [nextOffset, endOfLog] = [String(taken.nextOffset), String(next)];
    onLostEnd({ topic, partition, nextOffset, endOfLog });
    return { ...taken, nextOffset: next };
  }
}
