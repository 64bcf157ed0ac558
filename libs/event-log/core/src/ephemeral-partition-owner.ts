import { PartitionOwner, type PartitionBounds } from './event-log.port.js';

/**
 * Keeps offsets in memory, for readers whose state dies with the process (caches): a partition
 * starts at the end, or at the beginning, of what the log holds when it is first taken.
 */
export class EphemeralPartitionOwner extends PartitionOwner {
  private readonly positions = new Map<string, { epoch: bigint; nextOffset: bigint }>();

  constructor(private readonly start: 'earliest' | 'next') {
    super();
  }

  async take(
    topic: string,
    partition: number,
    bounds: PartitionBounds,
  ): Promise<{ readonly epoch: bigint; readonly nextOffset: bigint }> {
    const known = this.positions.get(`${topic}/${partition}`);
    const taken = {
      epoch: (known?.epoch ?? 0n) + 1n,
      nextOffset: known?.nextOffset ?? bounds[this.start],
    };
    this.positions.set(`${topic}/${partition}`, taken);
    return { ...taken };
  }

  /** Remembers where to read on; called by the handler together with `LogBatch.resolve`. */
  advance(topic: string, partition: number, nextOffset: bigint): void {
    const known = this.positions.get(`${topic}/${partition}`);
    if (known !== undefined) known.nextOffset = nextOffset;
  }
}
