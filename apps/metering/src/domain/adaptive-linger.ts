/** How long a wait may grow, milliseconds: a row is to be seen within two seconds. */
const MOST_MS = 1_000;
/** How often the wait is chosen anew, milliseconds. */
const WINDOW_MS = 1_000;
/** Share of the time spent on batches above which the wait doubles, and below which it halves. */
const BUSY_SHARE = 0.3;
/** Half as many batches are half the work: between the two shares the wait does not swing. */
const IDLE_SHARE = BUSY_SHARE / 2;

/**
 * How long a batch waits for more records: as configured while there is little to do, up to a second
 * while batches keep the ledger busy, because a batch costs about the same whatever its size. The
 * time of batches that run at once adds up, so that the share can exceed 1.
 */
export class AdaptiveLinger {
  private waitMs: number;
  private windowStartMs: number | null = null;
  private busyMs = 0;

  /** @param leastMs 0 = never waits */
  constructor(private readonly leastMs: number) {
    this.waitMs = leastMs;
  }

  /** Counts the time that one batch took. */
  note(batchMs: number): void {
    this.busyMs += batchMs;
  }

  /** The wait that holds now, milliseconds. @param nowMs never less than at an earlier call */
  waitAt(nowMs: number): number {
    this.windowStartMs ??= nowMs;
    const elapsedMs = nowMs - this.windowStartMs;
    if (elapsedMs < WINDOW_MS) return this.waitMs;
    const share = this.busyMs / elapsedMs;
    this.windowStartMs = nowMs;
    this.busyMs = 0;
    const mostMs = Math.max(MOST_MS, this.leastMs);
    if (share > BUSY_SHARE) this.waitMs = Math.min(mostMs, this.waitMs * 2);
    else if (share < IDLE_SHARE) this.waitMs = Math.max(this.leastMs, this.waitMs / 2);
    return this.waitMs;
  }
}
