import { AppError, messageOf, type Clock } from '#libs/kernel';

import type { MeteringMetrics } from './metering-metrics.js';

interface Failure {
  readonly sinceMs: number;
  readonly code: string;
  readonly isTransient: boolean;
}

/** A partition may fail this long before the process counts as not ready, milliseconds. */
const GRACE_MS = 5_000;

/** Which partitions cannot go on, and why. */
export class PartitionHealth {
  private readonly failures = new Map<string, Failure>();

  constructor(
    private readonly metrics: MeteringMetrics,
    private readonly clock: Clock,
  ) {}

  /** Runs one step of a partition and remembers how it ended; rethrows what it throws. */
  async watch<T>(topic: string, partition: number, step: () => Promise<T>): Promise<T> {
    const key = `${topic}/${partition}`;
    try {
      const result = await step();
      this.failures.delete(key);
      this.metrics.stopped.set({ topic, partition }, 0);
      return result;
    } catch (error) {
      if (isFenced(error)) this.failures.delete(key);
      else this.note(key, error);
      this.metrics.stopped.set({ topic, partition }, isFenced(error) ? 0 : 1);
      throw error;
    }
  }

  /**
   * A readiness check: fails while an engine keeps a partition from going on. A partition that waits
   * for people (a newer schema, a rewritten log) is an alarm, not a reason to take the process away.
   */
  check(): Promise<void> {
    const nowMs = this.clock.monotonicMs();
    for (const [key, failure] of this.failures) {
      if (failure.isTransient && nowMs - failure.sinceMs > GRACE_MS) {
        return Promise.reject(new Error(`${key} waits: ${failure.code}`));
      }
    }
    return Promise.resolve();
  }

  private note(key: string, error: unknown): void {
    const sinceMs = this.failures.get(key)?.sinceMs ?? this.clock.monotonicMs();
    const isApp = error instanceof AppError;
    this.failures.set(key, {
      sinceMs,
      code: isApp ? error.code : messageOf(error).slice(0, 200),
      isTransient: !isApp || error.retryable,
    });
  }
}

function isFenced(error: unknown): boolean {
  return error instanceof AppError && error.code === 'log.fenced';
}
