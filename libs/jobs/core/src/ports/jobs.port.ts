/** What a job carries: a JSON object, small (ids, not content), without secrets. */
export type JobData = Readonly<Record<string, unknown>>;

/** How a job is added. */
export interface JobOptions {
  /**
   * What the job is about, unique per name, for example `<budget id>.<epoch>`. While a job with this
   * id waits, adding it again changes nothing; while one runs, one more run follows it.
   */
  readonly id: string;
  /** Earliest start after now, milliseconds. @default 0 */
  readonly delayMs?: number;
}

/**
 * Where work is put that may be done sooner, later, twice or never: no correctness rests on a job.
 * Whoever adds one has another way to the same end (a pass over the state, a command of an operator).
 */
export abstract class JobQueue {
  /**
   * Adds a job, at least once, in bounded time (at most a second); it never rejects and may be
   * called from anywhere, also fire-and-forget.
   * @param name of the job in kebab-case; one handler per name
   * @returns whether the queue has a job with this id; false when the engine did not answer, or when
   *   too many additions wait for it
   */
  abstract add(name: string, data: JobData, options: JobOptions): Promise<boolean>;

  /**
   * Has a job without data run again and again, once per interval in the whole deployment, whoever
   * asked and how often. The schedule is put back by itself when the engine has forgotten it.
   * @param everyMs interval, milliseconds, at least 1,000
   */
  abstract every(name: string, everyMs: number): void;
}

/** A job as its handler gets it. */
export interface Job {
  readonly name: string;
  readonly data: JobData;
  /** From 1; counts runs of this job that failed before. */
  readonly attempt: number;
  /** Aborted when the time of the run is over or the process stops. */
  readonly signal: AbortSignal;
}

/**
 * Does one job. A rejection is tried again after a growing pause, five times in all; one with an
 * AppError of kind `invalid` is set aside at once.
 */
export type JobHandler = (job: Job) => Promise<void>;

/** Bounds of a handler. */
export interface JobLimits {
  /** Jobs of this name at once in this process. */
  readonly concurrency: number;
  /** Longest run, milliseconds; then the signal is aborted and the run counts as failed. */
  readonly timeoutMs: number;
}

/** Where handlers register. */
export abstract class JobWorkers {
  /**
   * Runs jobs of one name in this process from now on. A job is done at least once: after the death
   * of a process another one runs it again, once; a job whose process died twice is set aside as
   * failed, as is one whose runs all failed.
   * @throws Error when the name has a handler already
   */
  abstract process(name: string, handler: JobHandler, limits: JobLimits): void;
}

/** The jobs of a process, open. */
export interface Jobs {
  readonly queue: JobQueue;
  readonly workers: JobWorkers;
  /** Takes no more jobs, waits for those in hand up to a bound, closes the connections. Idempotent. */
  close(): Promise<void>;
}
