import { PartitionOwner, type PartitionBounds } from '#libs/event-log/core';
import type { Database, PartitionPositions } from '#libs/platform/postgres';

/** Keeps this service's offsets and fences in schema `budget`; a new partition is read from its start. */
export class BudgetPartitionOwner extends PartitionOwner {
  constructor(
    private readonly database: Database,
    private readonly positions: PartitionPositions,
  ) {
    super();
  }

  take(
    topic: string,
    partition: number,
    bounds: PartitionBounds,
  ): Promise<{ readonly epoch: bigint; readonly nextOffset: bigint }> {
    return this.positions.take(this.database, topic, partition, bounds.earliest);
  }
}
