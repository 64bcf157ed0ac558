import type { LaneRange } from '../ports/spool.port.js';

/** Most ranges that wait; whoever misses more asks again. */
const MOST_RANGES = 1_024;

/** Ranges to be published once more, oldest first, each once. */
export class ResendQueue {
  private readonly ranges = new Map<string, LaneRange>();
  private wake: (() => void) | null = null;

  /** Whether nothing waits. */
  get isEmpty(): boolean {
    return this.ranges.size === 0;
  }

  /**
   * Queues a range; one that waits already is not queued twice.
   * @returns false when too many wait
   */
  add(range: LaneRange): boolean {
    const key = keyOf(range);
    if (!this.ranges.has(key) && this.ranges.size >= MOST_RANGES) return false;
    this.ranges.set(key, range);
    this.wake?.();
    this.wake = null;
    return true;
  }

  /** Takes the oldest range out. */
  take(): LaneRange | null {
    for (const [key, range] of this.ranges) {
      this.ranges.delete(key);
      return range;
    }
    return null;
  }

  /** Resolves when a range waits; one caller at a time. */
  waiting(): Promise<void> {
    if (!this.isEmpty) return Promise.resolve();
    return new Promise((resolve) => {
      this.wake = resolve;
    });
  }
}

function keyOf({ lane, from, to }: LaneRange): string {
  return `${lane}/${from}/${to}`;
}
