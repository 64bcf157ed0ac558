import { PartitionOwner, type PartitionBounds } from '#libs/event-log/core';

/**
 * Offsets of a reader that keeps nothing: it begins at the end of the log, because everything before
 * is in what it fetches, and goes on where it was when a partition is taken again.
 */
export class LatestOwner extends PartitionOwner {
  private readonly positions = new Map<string, bigint>();
  private epoch = 0n;

  /** @param onGap told when records may have gone unseen; whatever was cached is then doubtful */
  constructor(private readonly onGap: () => void) {
    super();
  }

  async take(
    topic: string,
    partition: number,
    bounds: PartitionBounds,
  ): Promise<{ readonly epoch: bigint; readonly nextOffset: bigint }> {
    const known = this.positions.get(`${topic}/${partition}`);
    const isGap = known === undefined || known < bounds.earliest || known > bounds.next;
    const nextOffset = isGap ? bounds.next : known;
    this.advance(topic, partition, nextOffset);
    if (isGap) this.onGap();
    this.epoch += 1n;
    return { epoch: this.epoch, nextOffset };
  }

  /** Everything below this offset has been heard. */
  advance(topic: string, partition: number, nextOffset: bigint): void {
    this.positions.set(`${topic}/${partition}`, nextOffset);
  }
}
