import type { Jobs } from '#libs/jobs/core';
import type { Database } from '#libs/platform/postgres';

import type { OrphanSweep } from './orphan-sweep.js';
import type { RollupCheck } from './rollup-check.js';
import type { RollupMerging } from './rollup-merging.js';
import type { SealQueue } from './seal-queue.js';

/** What the jobs do. */
export interface LedgerJobsParts {
  readonly jobs: Pick<Jobs, 'queue' | 'workers'>;
  readonly check: RollupCheck;
  readonly merging: RollupMerging;
  readonly sweep: OrphanSweep;
  readonly queue: SealQueue;
  readonly database: Database;
}

const CHECK_ROLLUPS = 'check-rollups';
const SWEEP_LEDGER = 'sweep-ledger';
const HOUR_MS = 3_600_000;
/** One at a time; beyond half an hour a run has hung. */
const LIMITS = { concurrency: 1, timeoutMs: 1_800_000 };
/** Seals that were written are kept as long as the plans of their batches, seconds: 7 days. */
const KEEP_SECONDS = 7 * 86_400;
const SLICE = 1_000;

/**
 * The hourly looks at the ledger, once per hour in the whole deployment. No figure rests on them: they
 * find what should not be there, and merge hours that have been checked.
 */
export class LedgerJobs {
  constructor(private readonly parts: LedgerJobsParts) {}

  /** Runs the jobs in this process from now on. */
  start(): void {
    const { jobs, check, merging, sweep } = this.parts;
    jobs.workers.process(
      CHECK_ROLLUPS,
      async ({ signal }) => {
        await check.run(signal);
        await merging.run(signal);
      },
      LIMITS,
    );
    jobs.workers.process(
      SWEEP_LEDGER,
      async ({ signal }) => {
        await sweep.run(signal);
        await this.prune(signal);
      },
      LIMITS,
    );
    jobs.queue.every(CHECK_ROLLUPS, HOUR_MS);
    jobs.queue.every(SWEEP_LEDGER, HOUR_MS);
  }

  private async prune(signal: AbortSignal): Promise<void> {
    const { queue, database } = this.parts;
    while (!signal.aborted) {
      if ((await queue.prune(database, KEEP_SECONDS, SLICE)) < SLICE) return;
    }
  }
}
