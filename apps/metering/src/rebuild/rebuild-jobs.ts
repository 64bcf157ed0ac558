import type { Jobs } from '#libs/jobs/core';

import type { Worker } from '../sealing/ledger-workers.js';
import type { RebuildWorker } from './rebuild.worker.js';

/** The job that carries out what was asked for. */
const CARRY_OUT_REBUILD = 'carry-out-rebuild';
/** One rebuild runs at a time; one that takes longer is gone on with by the workers' own looks. */
const LIMITS = { concurrency: 1, timeoutMs: 3_600_000 };

/**
 * Rebuilds ahead of the workers' own looks: whichever process has room takes the job. Whether it is done
 * once, twice or never changes nothing but the moment, since the claim on the rebuild decides who
 * works on it, and every process looks for unclaimed rebuilds anyway.
 */
export class RebuildJobs implements Worker {
  /** @param jobs absent: rebuilds wait for the next look */
  constructor(
    private readonly jobs: Pick<Jobs, 'queue' | 'workers'> | undefined,
    private readonly worker: Pick<RebuildWorker, 'carryOutNext'>,
  ) {}

  /** Runs the jobs in this process from now on; they end with the queue. */
  start(): void {
    this.jobs?.workers.process(
      CARRY_OUT_REBUILD,
      ({ signal }) => this.worker.carryOutNext(signal),
      LIMITS,
    );
  }

  /** Asks for a rebuild that is durable, and waits for nothing. */
  request(rebuildId: string): void {
    void this.jobs?.queue.add(CARRY_OUT_REBUILD, { rebuild_id: rebuildId }, { id: rebuildId });
  }
}
