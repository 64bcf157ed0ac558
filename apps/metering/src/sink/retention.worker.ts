import { messageOf, PeriodicWorker } from '#libs/kernel';
import { pruneDeadLetters, type Database, type Queryable } from '#libs/platform/postgres';
import type { Logger } from '#libs/platform/telemetry';

import type { PlanStore } from './plan-store.js';
import type { StreamStore } from './stream-store.js';

/** What the worker works with. */
export interface RetentionParts {
  readonly database: Database;
  readonly plans: PlanStore;
  readonly streams: StreamStore;
  readonly logger: Pick<Logger, 'warn'>;
}

/**
 * Finished plans are kept this long, seconds: 7 days, as long as the log keeps their records. What is
 * older can neither be formed again nor told to the budgets again.
 */
const KEEP_PLANS_SECONDS = 7 * 86_400;
/** Filled gaps are kept this long for people, seconds: 30 days, like letters that were dealt with. */
const KEEP_GAPS_SECONDS = 30 * 86_400;
/** Rows removed per statement; a few milliseconds of work. */
const SLICE = 1_000;
/** Pause between two passes, milliseconds. */
const EVERY_MS = 600_000;

/**
 * Removes what no guarantee needs any more in bounded slices, beside the work of the partitions:
 * finished plans, filled gaps, dead letters that were dealt with. Not among it: emitters' watermarks,
 * by which alone a repeat is known, however long its emitter was away; ranges that were given up, the
 * only note of what the ledger lacks; the newest plan of each partition.
 */
export class RetentionWorker extends PeriodicWorker {
  constructor(private readonly parts: RetentionParts) {
    super();
  }

  /** Removes all that may go by now. */
  async pass(): Promise<void> {
    const { plans, streams } = this.parts;
    await this.remove((db) => plans.prune(db, KEEP_PLANS_SECONDS, SLICE));
    await this.remove((db) => streams.prune(db, KEEP_GAPS_SECONDS, SLICE));
    await this.remove((db) => pruneDeadLetters(db, SLICE));
  }

  private async remove(slice: (db: Queryable) => Promise<number>): Promise<void> {
    for (let removed = SLICE; removed === SLICE && !this.signal.aborted;) {
      removed = await slice(this.parts.database);
    }
  }

  protected failed(error: unknown): void {
    // Nothing rests on it: the same rows are found by the next pass.
    this.parts.logger.warn({ reason: messageOf(error) }, 'old rows could not be removed');
  }

  protected pauseMs(): number {
    return EVERY_MS;
  }
}
