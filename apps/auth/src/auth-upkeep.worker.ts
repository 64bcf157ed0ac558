import { messageOf, PeriodicWorker, type Clock } from '#libs/kernel';
import { pruneIdempotentAnswers } from '#libs/keys/adapters';
import { pruneDeadLetters, type Database } from '#libs/platform/postgres';
import type { Logger } from '#libs/platform/telemetry';

/** Pause between two passes, milliseconds. */
const EVERY_MS = 600_000;
/** Rows deleted per statement; about 10 ms of work. */
const SLICE_ROWS = 1_000;

/** What the worker is built from. */
export interface AuthUpkeepWorkerParts {
  /** Acts in schema `auth`. */
  readonly database: Database;
  readonly clock: Clock;
  readonly logger: Pick<Logger, 'warn'>;
}

/**
 * Drops what nothing rests on any more: answers kept for repeats after 24 h, dead letters that were
 * dealt with after 30 days. Runs in every instance; what one drops the others do not find.
 */
export class AuthUpkeepWorker extends PeriodicWorker {
  constructor(private readonly parts: AuthUpkeepWorkerParts) {
    super();
  }

  /** Drops everything that is due, slice by slice. @returns how many rows went */
  async pass(): Promise<number> {
    const { database, clock } = this.parts;
    const answers = await this.inSlices(() =>
      pruneIdempotentAnswers(database, clock.nowMs(), SLICE_ROWS),
    );
    return answers + (await this.inSlices(() => pruneDeadLetters(database, SLICE_ROWS)));
  }

  private async inSlices(deleteSlice: () => Promise<number>): Promise<number> {
    let deleted = 0;
    for (let rows = SLICE_ROWS; rows === SLICE_ROWS && !this.signal.aborted;) {
      rows = await deleteSlice();
      deleted += rows;
    }
    return deleted;
  }

  protected failed(error: unknown): void {
    // Nothing rests on it: the same rows are found by the next pass.
    this.parts.logger.warn({ reason: messageOf(error) }, 'old rows could not be dropped');
  }

  protected pauseMs(): number {
    return EVERY_MS;
  }
}
