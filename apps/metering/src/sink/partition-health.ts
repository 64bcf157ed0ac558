import { AppError, messageOf, type Clock } from '#libs/kernel';

import type { MeteringMetrics } from './metering-metrics.js';

/** What is done with a partition: it is taken, then its batches are carried. */
export type PartitionStage = 'take' | 'batch';

interface Failure {
  readonly topic: string;
  readonly partition: number;
  readonly stage: PartitionStage;
  readonly sinceMs: number;
  readonly latestMs: number;
  readonly code: string;
  readonly isTransient: boolean;
}

/** A partition may fail this long before the process counts as not ready, milliseconds. */
const GRACE_MS = 5_000;
/** A partition that was not tried again for so long has gone to another process, milliseconds. */
const GONE_MS = 60_000;

/** Which partitions cannot go on, and why. */
export class PartitionHealth {
  private readonly failures = new Map<string, Failure>();
  private readonly running = new Set<string>();

  constructor(
    private readonly metrics: MeteringMetrics,
    private readonly clock: Clock,
  ) {}

  /**
   * Runs one step of a partition and remembers how it ended; rethrows what it throws.
   * @param hasMoved whether the partition got anywhere by a step that succeeded: taking one whose next
   *   batch will fail again mends nothing
   */
  async watch<T>(
    stage: PartitionStage,
    topic: string,
    partition: number,
    step: () => Promise<T>,
    hasMoved: (result: T) => boolean = () => true,
  ): Promise<T> {
    const key = `${topic}/${partition}`;
    this.running.add(key);
    try {
      const result = await step();
      const failedBefore = this.failures.get(key)?.stage;
      if (failedBefore !== 'batch' || hasMoved(result)) this.forget(key, topic, partition);
      return result;
    } catch (error) {
      if (isFenced(error)) this.forget(key, topic, partition);
      else this.note(key, { topic, partition, stage }, error);
      throw error;
    } finally {
      this.running.delete(key);
    }
  }

  /**
   * A readiness check: fails while an engine keeps a partition from going on. A partition that waits
   * for people (a newer schema, a rewritten log) is an alarm, not a reason to take the process away.
   */
  check(): Promise<void> {
    const nowMs = this.clock.monotonicMs();
    for (const [key, { topic, partition, latestMs }] of this.failures) {
      const isGone = !this.running.has(key) && nowMs - latestMs > GONE_MS;
      if (isGone) this.forget(key, topic, partition);
    }
    for (const [key, failure] of this.failures) {
      if (failure.isTransient && nowMs - failure.sinceMs > GRACE_MS) {
        return Promise.reject(new Error(`${key} waits: ${failure.code}`));
      }
    }
    return Promise.resolve();
  }

  private forget(key: string, topic: string, partition: number): void {
    this.failures.delete(key);
    this.metrics.stopped.set({ topic, partition }, 0);
  }

  private note(
    key: string,
    at: Pick<Failure, 'topic' | 'partition' | 'stage'>,
    error: unknown,
  ): void {
    const latestMs = this.clock.monotonicMs();
    const sinceMs = this.failures.get(key)?.sinceMs ?? latestMs;
    const isApp = error instanceof AppError;
    this.failures.set(key, {
      ...at,
      sinceMs,
      latestMs,
      code: isApp ? error.code : messageOf(error).slice(0, 200),
      isTransient: !isApp || error.retryable,
    });
    this.metrics.stopped.set({ topic: at.topic, partition: at.partition }, 1);
  }
}

function isFenced(error: unknown): boolean {
  return error instanceof AppError && error.code === 'log.fenced';
}
