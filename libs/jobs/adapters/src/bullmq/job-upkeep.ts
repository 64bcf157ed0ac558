import { AppError, delay, messageOf, type Clock } from '#libs/kernel';
import type { Logger } from '#libs/platform/telemetry';

import { withinMs, type BullJobQueue } from './bull-job-queue.js';
import type { BullJobWorkers } from './bull-job-workers.js';
import type { JobEngine } from './job-engine.js';
import type { JobMetrics } from './job-metrics.js';

/** Pause between two looks at an engine that answers, milliseconds. */
const LOOK_EVERY_MS = 5_000;
/** Pause between two looks at an engine that does not, milliseconds. */
const RETRY_EVERY_MS = 500;
/** Longest look, milliseconds. */
const LOOK_MS = 4_000;

/** What the upkeep is built from. */
export interface JobUpkeepParts {
  readonly engine: JobEngine;
  readonly metrics: JobMetrics;
  readonly clock: Clock;
  readonly logger: Pick<Logger, 'warn' | 'error'>;
}

/** Looks again and again whether the engine is there, what it has forgotten, and what waits in it. */
export class JobUpkeep {
  private readonly stopping = new AbortController();
  private running: Promise<void> | undefined;
  private up = false;
  private fault: AppError | null = null;

  constructor(private readonly parts: JobUpkeepParts) {}

  /** Whether the engine answered the last time. */
  isUp(): boolean {
    return this.up;
  }

  /** @throws AppError `jobs.redis_evicts` while the engine must not be used as it is set */
  check(): void {
    if (this.fault !== null) throw this.fault;
  }

  /**
   * Asks the engine once.
   * @throws AppError `jobs.redis_evicts`; an engine that is merely away is not a failure
   */
  async probe(): Promise<void> {
    const { engine, metrics, logger } = this.parts;
    const wasUp = this.up;
    try {
      await engine.probe();
      this.up = true;
      this.fault = null;
    } catch (error) {
      this.up = false;
      const isFault = error instanceof AppError;
      if (isFault && this.fault === null)
        logger.error({ reason: error.message }, 'jobs stand still');
      this.fault = isFault ? error : null;
      if (isFault) throw error;
      if (wasUp) this.warnAway(error);
    } finally {
      metrics.engineUp(this.up);
    }
  }

  /** Says that the engine is away; jobs wait, their work is found another way. */
  warnAway(error: unknown): void {
    const { engine, logger } = this.parts;
    logger.warn(
      { engine: engine.name, reason: messageOf(error) },
      'the engine of the jobs is away',
    );
  }

  /** Looks on in the background. */
  start(queue: BullJobQueue, workers: BullJobWorkers): void {
    this.running ??= this.run(queue, workers);
  }

  /** Ends the looking. */
  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  private async run(queue: BullJobQueue, workers: BullJobWorkers): Promise<void> {
    const { signal } = this.stopping;
    while (!signal.aborted) {
      try {
        if (this.up) {
          workers.start();
          await withinMs(this.look(queue, workers), LOOK_MS, undefined);
        }
      } catch (error) {
        this.warnAway(error);
      }
      await delay(this.up ? LOOK_EVERY_MS : RETRY_EVERY_MS, signal);
      if (!signal.aborted) await this.probe().catch(() => undefined);
    }
  }

  private async look(queue: BullJobQueue, workers: BullJobWorkers): Promise<void> {
    const { clock, metrics } = this.parts;
    await queue.restoreSchedules();
    for (const name of new Set([...queue.names(), ...workers.names()])) {
      metrics.standing(name, await queue.standing(name, clock.nowMs()));
    }
  }
}
