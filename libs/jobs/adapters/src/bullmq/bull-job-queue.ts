import { JobQueue, type JobData, type JobOptions } from '#libs/jobs/core';
import { assert, delay, messageOf } from '#libs/kernel';
import type { Logger } from '#libs/platform/telemetry';

import type { EngineQueue, JobEngine } from './job-engine.js';
import type { JobMetrics, QueueStanding } from './job-metrics.js';

/** Additions that may wait for the engine at once in this process; more are not added. */
const MAX_PENDING = 256;
/** Shortest interval of a schedule, milliseconds. */
const MIN_EVERY_MS = 1_000;
/** Attempts of a job in all; a failed one comes again after 1, 2, 4 and 8 s, half of it by chance. */
const RETRIES = {
  attempts: 5,
  backoff: { type: 'exponential', delay: 1_000, jitter: 0.5 },
} as const;
/** What is kept of ended jobs: nothing of those done, the last failed ones for a week. */
const KEEP = {
  removeOnComplete: true,
  removeOnFail: { age: 7 * 86_400, count: 1_000 },
} as const;
const NAME = /^[a-z][a-z0-9-]{0,62}$/;
const MAX_ID_LENGTH = 200;

/** What the queue is built from. */
export interface BullJobQueueParts {
  readonly engine: JobEngine;
  readonly metrics: JobMetrics;
  readonly logger: Pick<Logger, 'warn'>;
  /** Longest wait for the engine to confirm an addition, milliseconds. */
  readonly addMs: number;
  /** Whether the engine answered when it was last asked. */
  readonly isUp: () => boolean;
}

/** Adds jobs to BullMQ's queues, one per name. */
export class BullJobQueue extends JobQueue {
  private readonly queues = new Map<string, EngineQueue>();
  private readonly schedules = new Map<string, number>();
  private pending = 0;

  constructor(private readonly parts: BullJobQueueParts) {
    super();
  }

  override async add(name: string, data: JobData, options: JobOptions): Promise<boolean> {
    const { id, delayMs = 0 } = options;
    assert(id.length > 0 && id.length <= MAX_ID_LENGTH, 'a job needs an id of 1 to 200 characters');
    const { metrics } = this.parts;
    if (this.pending >= MAX_PENDING || !this.parts.isUp()) {
      metrics.missed(name, this.parts.isUp() ? 'full' : 'away');
      return false;
    }
    this.pending += 1;
    const confirmed = this.confirm(name, data, id, delayMs).finally(() => {
      this.pending -= 1;
    });
    const isAdded = await withinMs(confirmed, this.parts.addMs, false);
    if (isAdded) metrics.addition(name);
    else metrics.missed(name, 'away');
    return isAdded;
  }

  override every(name: string, everyMs: number): void {
    assert(everyMs >= MIN_EVERY_MS, 'a schedule runs at most once a second');
    assert(NAME.test(name), 'the name of a job is kebab-case');
    this.schedules.set(name, everyMs);
  }

  /** The names that were added, scheduled or looked at here. */
  names(): readonly string[] {
    return [...new Set([...this.queues.keys(), ...this.schedules.keys()])];
  }

  /** Puts schedules back that the engine does not have, and leaves those it has alone. */
  async restoreSchedules(): Promise<void> {
    for (const [name, every] of this.schedules) {
      const queue = this.queue(name);
      const known = await queue.getJobScheduler(name);
      if (known?.every === every) continue;
      const opts = { ...RETRIES, ...KEEP };
      await queue.upsertJobScheduler(name, { every }, { name, data: {}, opts });
    }
  }

  /** How the jobs of a name stand. @param nowMs wall time, milliseconds */
  async standing(name: string, nowMs: number): Promise<QueueStanding> {
    const queue = this.queue(name);
    const counts = await queue.getJobCounts('wait', 'prioritized', 'delayed', 'failed');
    const [oldest] = await queue.getJobs(['wait'], 0, 0, true);
    const { wait = 0, waiting = 0, prioritized = 0, delayed = 0, failed = 0 } = counts;
    return {
      waiting: wait + waiting + prioritized + delayed,
      failed,
      oldestSeconds: oldest === undefined ? 0 : Math.max(0, nowMs - oldest.timestamp) / 1_000,
    };
  }

  /** Closes the queues; what waits in them stays with the engine. */
  async close(): Promise<void> {
    await Promise.all([...this.queues.values()].map((queue) => queue.close()));
    this.queues.clear();
  }

  private async confirm(
    name: string,
    data: JobData,
    id: string,
    delayMs: number,
  ): Promise<boolean> {
    try {
      await this.queue(name).add(name, data, {
        delay: delayMs,
        deduplication: { id, keepLastIfActive: true },
        ...RETRIES,
        ...KEEP,
      });
      return true;
    } catch (error) {
      this.parts.logger.warn({ job: name, reason: messageOf(error) }, 'a job was not added');
      return false;
    }
  }

  private queue(name: string): EngineQueue {
    let queue = this.queues.get(name);
    if (queue === undefined) {
      assert(NAME.test(name), 'the name of a job is kebab-case');
      queue = this.parts.engine.queue(name);
      // What concerns a call is told to its caller; the rest is the connection, which the probe sees.
      queue.on('error', () => undefined);
      this.queues.set(name, queue);
    }
    return queue;
  }
}

/** The result of a promise, or another one when it takes longer; what it does goes on. */
export async function withinMs<T>(promise: Promise<T>, timeMs: number, late: T): Promise<T> {
  const done = new AbortController();
  try {
    return await Promise.race([promise, delay(timeMs, done.signal).then(() => late)]);
  } finally {
    done.abort();
  }
}
