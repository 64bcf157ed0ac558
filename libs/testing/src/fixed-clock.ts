import { Clock } from '#libs/kernel';

/** A clock that stands still until the test moves it. */
export class FixedClock extends Clock {
  private elapsedMs = 0;

  /** @param startMs wall time in milliseconds UTC; default 2026-01-01T00:00:00Z */
  constructor(private readonly startMs = 1_767_225_600_000) {
    super();
  }

  nowMs(): number {
    return this.startMs + this.elapsedMs;
  }

  monotonicMs(): number {
    return this.elapsedMs;
  }

  /** Moves both readings forward. */
  advance(timeMs: number): void {
    this.elapsedMs += timeMs;
  }
}
