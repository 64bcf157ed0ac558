import { delay, messageOf } from '#libs/kernel';
import type { Database } from '#libs/platform/postgres';
import type { Logger } from '#libs/platform/telemetry';

import type { PlanStore } from './plan-store.js';

/** Finished plans are kept this long, seconds: 7 days. */
const KEEP_SECONDS = 7 * 86_400;
/** Plans removed per statement; a few milliseconds of work. */
const SLICE = 1_000;
/** Pause between two looks, milliseconds. */
const EVERY_MS = 600_000;

/** Removes old finished plans in bounded slices, beside the work of the partitions. */
export class PlanRetentionWorker {
  private readonly stopping = new AbortController();
  private running: Promise<void> | undefined;

  constructor(
    private readonly database: Database,
    private readonly plans: PlanStore,
    private readonly logger: Logger,
  ) {}

  start(): void {
    this.running ??= this.run();
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  private async run(): Promise<void> {
    while (!this.stopping.signal.aborted) {
      let removed = 0;
      try {
        removed = await this.plans.prune(this.database, KEEP_SECONDS, SLICE);
      } catch (error) {
        // Nothing rests on it: the same plans are found at the next look.
        this.logger.warn({ reason: messageOf(error) }, 'old plans could not be removed');
      }
      if (removed < SLICE) await delay(EVERY_MS, this.stopping.signal);
    }
  }
}
