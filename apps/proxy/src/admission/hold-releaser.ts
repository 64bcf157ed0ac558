import type { BudgetAuthority } from '#libs/budgets/core';
import { backoffMs, delay, type Random } from '#libs/kernel';

/** Pauses while the authority cannot be reached. */
const BACKOFF = { firstMs: 100, mostMs: 5_000 } as const;
/** Most holds given back in one call. */
const MAX_BATCH = 1_000;
/** Holds that wait to be given back beyond which no more are asked for. */
const MANY = 10_000;

/** What the releaser is made of. */
export interface HoldReleaserParts {
  readonly authority: Pick<BudgetAuthority, 'releaseHolds'>;
  readonly emitterId: string;
  readonly random: Random;
  /** Told of each failure; the holds stay queued. */
  readonly onError: (error: unknown) => void;
}

/**
 * Gives holds back in the background until the authority confirmed it. Idempotent per hold; once is
 * enough also for one whose placement is still under way, because the authority waits for that or
 * remembers the release. None is dropped: memory is bounded by asking for no more while `isFull`.
 */
export class HoldReleaser {
  private readonly due = new Set<string>();
  private running: Promise<void> | null = null;
  private readonly stopped = new AbortController();

  constructor(private readonly parts: HoldReleaserParts) {}

  /** Queues a hold that was placed, or may have been, and for which nothing was sent. */
  release(holdId: string): void {
    this.due.add(holdId);
    this.running ??= this.run();
  }

  /** Holds not yet given back: below 10,000, and those asked for before that many waited. */
  pending(): number {
    return this.due.size;
  }

  /** Whether so many wait that no further hold may be asked for. */
  isFull(): boolean {
    return this.due.size >= MANY;
  }

  /** Tries what is due once more and ends; what remains is found by the next start's recovery. */
  async stop(): Promise<void> {
    this.stopped.abort();
    await this.running;
    try {
      while (this.due.size > 0) await this.releaseBatch();
    } catch (error) {
      this.parts.onError(error);
    }
  }

  private async run(): Promise<void> {
    const { random, onError } = this.parts;
    for (let failures = 0; this.due.size > 0 && !this.stopped.signal.aborted;) {
      try {
        await this.releaseBatch();
        failures = 0;
      } catch (error) {
        onError(error);
        const unit = random.bytes(1)[0]! / 256;
        await delay(backoffMs(failures++, BACKOFF, unit), this.stopped.signal);
      }
    }
    this.running = null;
  }

  private async releaseBatch(): Promise<void> {
    const batch = [...this.due].slice(0, MAX_BATCH);
    await this.parts.authority.releaseHolds(this.parts.emitterId, batch);
    for (const holdId of batch) this.due.delete(holdId);
  }
}
