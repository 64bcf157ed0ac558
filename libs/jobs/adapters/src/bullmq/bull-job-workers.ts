import { UnrecoverableError, type Job as BullJob } from 'bullmq';

import { JobWorkers, type JobData, type JobHandler, type JobLimits } from '#libs/jobs/core';
import { AppError, failpoint, messageOf } from '#libs/kernel';
import type { Logger } from '#libs/platform/telemetry';

import { withinMs } from './bull-job-queue.js';
import type { EngineWorker, JobEngine } from './job-engine.js';
import type { JobMetrics } from './job-metrics.js';

/** How long runs in hand may take at the close of a process, milliseconds; then they are told to end. */
const CLOSE_MS = 5_000;
/** How long a run may take after it was told to end, milliseconds; another process does it again. */
const ABORT_MS = 1_000;

/** What the workers are built from. */
export interface BullJobWorkersParts {
  readonly engine: JobEngine;
  readonly metrics: JobMetrics;
  readonly logger: Pick<Logger, 'warn'>;
  readonly lockMs: number;
}

interface Registration {
  readonly name: string;
  readonly handler: JobHandler;
  readonly limits: JobLimits;
}

/** Runs handlers on BullMQ's workers, one per name, once the engine is there. */
export class BullJobWorkers extends JobWorkers {
  private readonly registrations = new Map<string, Registration>();
  private readonly running = new Map<string, EngineWorker>();
  private readonly stopping = new AbortController();
  private isStarted = false;
  private isClosing = false;

  constructor(private readonly parts: BullJobWorkersParts) {
    super();
  }

  override process(name: string, handler: JobHandler, limits: JobLimits): void {
    if (this.registrations.has(name)) throw new Error(`job ${name} has a handler already`);
    const registration = { name, handler, limits };
    this.registrations.set(name, registration);
    if (this.isStarted && !this.isClosing) this.open(registration);
  }

  /** The names that have a handler here. */
  names(): readonly string[] {
    return [...this.registrations.keys()];
  }

  /** Begins to run jobs; the engine has answered. Idempotent. */
  start(): void {
    if (this.isStarted || this.isClosing) return;
    this.isStarted = true;
    for (const registration of this.registrations.values()) this.open(registration);
  }

  /** Takes no more jobs; see `Jobs.close`. */
  async close(): Promise<void> {
    this.isClosing = true;
    const workers = [...this.running.values()];
    const graceful = Promise.all(workers.map((worker) => worker.close())).then(() => true);
    // An engine that is away would let it wait for ever.
    graceful.catch(() => undefined);
    const isDone = await withinMs(graceful, CLOSE_MS, false);
    this.stopping.abort();
    if (isDone || (await withinMs(graceful, ABORT_MS, false))) return;
    const forced = Promise.all(workers.map((worker) => worker.close(true))).then(() => true);
    forced.catch(() => undefined);
    await withinMs(forced, ABORT_MS, false);
  }

  private open(registration: Registration): void {
    const { engine, metrics, logger, lockMs } = this.parts;
    const { name, limits } = registration;
    const { concurrency } = limits;
    const worker = engine.worker(name, (job) => this.run(registration, job), {
      concurrency,
      lockMs,
    });
    worker.on('error', (error: Error) => {
      logger.warn({ job: name, reason: error.message }, 'the worker of a job will try again');
    });
    worker.on('completed', () => metrics.run(name, 'done'));
    worker.on('failed', (job: BullJob<JobData> | undefined, error: Error) => {
      // A job whose process died twice comes without attempts left to count.
      const isLast = job === undefined || job.finishedOn !== undefined;
      metrics.run(name, isLast ? 'set_aside' : 'failed');
      const detail = { job: name, attempt: job?.attemptsMade, reason: error.message };
      logger.warn(detail, isLast ? 'a job was set aside' : 'a job failed and will be tried again');
    });
    this.running.set(name, worker);
  }

  private async run(registration: Registration, job: BullJob<JobData>): Promise<void> {
    failpoint('job.start');
    const { name, handler, limits } = registration;
    const late = AbortSignal.timeout(limits.timeoutMs);
    const signal = AbortSignal.any([late, this.stopping.signal]);
    const ended = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => reject(overdue(name, limits.timeoutMs)), {
        once: true,
      });
    });
    const work = handler({ name, data: job.data, attempt: job.attemptsMade + 1, signal });
    // Told to its caller only while somebody waits.
    work.catch(() => undefined);
    ended.catch(() => undefined);
    try {
      await Promise.race([work, ended]);
    } catch (error) {
      if (error instanceof AppError && error.kind === 'invalid') {
        throw new UnrecoverableError(messageOf(error));
      }
      throw error;
    }
  }
}

function overdue(name: string, timeoutMs: number): AppError {
  return new AppError({
    code: 'jobs.overdue',
    kind: 'unavailable',
    publicMessage: `job ${name} did not end within ${timeoutMs} ms`,
    retryable: true,
  });
}
