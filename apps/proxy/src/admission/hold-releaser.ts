import type { BudgetAuthority } from '#libs/budgets/core';
import { backoffMs, delay, type Clock, type Random } from '#libs/kernel';

/** Pauses while the authority cannot be reached. */
const BACKOFF = { firstMs: 100, mostMs: 5_000 } as const;
/** Most holds given back in one call. */
const MAX_BATCH = 1_000;
/**
 * How long a placement without an answer may still be decided, milliseconds: longer than any statement
 * or lock wait of the authority, so that a release after it finds the hold if there is one.
 */
const DOUBT_MS = 60_000;

/** What the releaser is made of. */
export interface HoldReleaserParts {
  readonly authority: Pick<BudgetAuthority, 'releaseHolds'>;
  readonly emitterId: string;
  readonly clock: Clock;
  readonly random: Random;
  /** Told of each failure; the holds stay queued. */
  readonly onError: (error: unknown) => void;
}

/** Gives holds back in the background until the authority confirmed it. Idempotent per hold. */
export class HoldReleaser {
  private readonly due = new Set<string>();
  /** Holds to be given back once more, with the monotonic time from which on. */
  private readonly doubtful = new Map<string, number>();
  private running: Promise<void> | null = null;
  private readonly stopped = new AbortController();

  constructor(private readonly parts: HoldReleaserParts) {}

  /** Queues a hold that was placed and for which nothing was sent. */
  release(holdId: string): void {
    this.due.add(holdId);
    this.running ??= this.run();
  }

  /** Queues a hold that may have been placed, or may yet be: given back now and once more later. */
  releaseDoubtful(holdId: string): void {
    this.doubtful.set(holdId, this.parts.clock.monotonicMs() + DOUBT_MS);
    this.release(holdId);
  }

  /** Holds not yet given back, doubtful ones included. */
  pending(): number {
    return this.due.size + this.doubtful.size;
  }

  /** Tries what is due once more and ends; what remains is found by the next start's recovery. */
  async stop(): Promise<void> {
    this.stopped.abort();
    await this.running;
    if (this.due.size > 0) await this.releaseBatch().catch(this.parts.onError);
  }

  private async run(): Promise<void> {
    const { clock, random, onError } = this.parts;
    for (let failures = 0; this.pending() > 0 && !this.stopped.signal.aborted;) {
      this.ripen(clock.monotonicMs());
      if (this.due.size === 0) {
        await delay(1_000, this.stopped.signal);
        continue;
      }
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

  private ripen(nowMs: number): void {
    for (const [holdId, fromMs] of this.doubtful) {
      if (fromMs > nowMs) return;
      this.doubtful.delete(holdId);
      this.due.add(holdId);
    }
  }

  private async releaseBatch(): Promise<void> {
    const batch = [...this.due].slice(0, MAX_BATCH);
    await this.parts.authority.releaseHolds(this.parts.emitterId, batch);
    for (const holdId of batch) this.due.delete(holdId);
  }
}
