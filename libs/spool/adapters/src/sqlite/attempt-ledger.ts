/** Attempts that one commit opened; they are numbered `first` to `first + count - 1`. */
interface Block {
  readonly first: number;
  readonly count: number;
  /** Last position of the spool when the block was written: what ends its attempts stands behind it. */
  readonly spoolPosition: number;
  open: number;
}

/** Which attempts are open, kept in memory by the writer so that ending one costs no write of its own. */
export class AttemptLedger {
  private readonly blocks = new Map<number, Block>();
  private readonly byAttempt = new Map<number, Block>();
  private ended: Block[] = [];

  /** Notes a durable block; all of its attempts are open. */
  opened(first: number, count: number, spoolPosition: number): void {
    const block = { first, count, spoolPosition, open: count };
    this.blocks.set(first, block);
    for (let number = first; number < first + count; number += 1) this.byAttempt.set(number, block);
  }

  /** Notes that a durable event ended an attempt that stands behind it; others are not its business. */
  closed(attemptNumber: number, position: number): void {
    const block = this.byAttempt.get(attemptNumber);
    if (block === undefined || position <= block.spoolPosition) return;
    this.byAttempt.delete(attemptNumber);
    block.open -= 1;
    if (block.open > 0) return;
    this.blocks.delete(block.first);
    this.ended.push(block);
  }

  /** Whether an attempt is open. */
  isOpen(attemptNumber: number): boolean {
    return this.byAttempt.has(attemptNumber);
  }

  /** Numbers of all open attempts, growing. */
  openNumbers(): number[] {
    return [...this.byAttempt.keys()].sort((left, right) => left - right);
  }

  /** Blocks whose attempts have all ended, to be deleted; `forget` them once that is durable. */
  deletable(): readonly { readonly first: number; readonly count: number }[] {
    return this.ended;
  }

  /** Lets go of the blocks deleted. */
  forget(): void {
    this.ended = [];
  }

  /** Events up to this position say nothing about an open attempt; only they may be deleted. */
  floor(lastPosition: number): number {
    let floor = lastPosition;
    for (const block of this.blocks.values()) floor = Math.min(floor, block.spoolPosition);
    return floor;
  }
}
