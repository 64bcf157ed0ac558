import type { Job, Processor, Queue } from 'bullmq';

import type { JobData } from '#libs/jobs/core';

/** A queue of jobs of one name, on whichever backend. */
export type EngineQueue = Pick<
  Queue<JobData>,
  'add' | 'close' | 'getJobCounts' | 'getJobs' | 'getJobScheduler' | 'upsertJobScheduler'
> & { on(event: 'error', listener: (error: Error) => void): unknown };

/** A worker for jobs of one name, on whichever backend. */
export interface EngineWorker {
  close(force?: boolean): Promise<void>;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'completed', listener: () => void): unknown;
  on(event: 'failed', listener: FailureListener): unknown;
}

/** Told of a run that failed; a job that was lost twice comes without itself. */
export type FailureListener = (job: Job<JobData> | undefined, error: Error) => void;

/** Settings of a worker. */
export interface EngineWorkerOptions {
  readonly concurrency: number;
  /**
   * How long a job belongs to a worker that gives no sign, and how often is looked for such jobs,
   * milliseconds.
   */
  readonly lockMs: number;
}

/** One of BullMQ's backends. */
export interface JobEngine {
  /** For people: what does not answer. */
  readonly name: string;
  /**
   * Looks whether the engine answers and may be used.
   * @throws AppError `jobs.redis_evicts` when it could drop jobs by itself
   * @throws Error of the engine's client when it does not answer
   */
  probe(): Promise<void>;
  /** Opens a queue; the engine has answered a probe before. */
  queue(name: string): EngineQueue;
  /** Opens a worker, which begins at once; the engine has answered a probe before. */
  worker(name: string, processor: Processor<JobData>, options: EngineWorkerOptions): EngineWorker;
}

/** Pause of a worker after its engine failed to answer, milliseconds. */
const RUN_RETRY_MS = 1_000;

/** What every worker is opened with. */
export function workerOptions({ concurrency, lockMs }: EngineWorkerOptions): {
  readonly concurrency: number;
  readonly lockDuration: number;
  readonly stalledInterval: number;
  readonly maxStalledCount: number;
  readonly runRetryDelay: number;
} {
  return {
    concurrency,
    lockDuration: lockMs,
    stalledInterval: lockMs,
    maxStalledCount: 1,
    runRetryDelay: RUN_RETRY_MS,
  };
}
