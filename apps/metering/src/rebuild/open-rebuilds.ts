import type { LedgerUpkeep } from '#libs/usage/core';

import type { MeteringOptions } from '../metering-options.js';
import type { BatchSink } from '../sink/batch-sink.js';
import type { MeteringMetrics } from '../sink/metering-metrics.js';
import { LedgerRebuild } from './ledger-rebuild.js';
import { RebuildJobs } from './rebuild-jobs.js';
import { RebuildStore } from './rebuild-store.js';
import { RebuildWorker } from './rebuild.worker.js';
import { RollupRebuild } from './rollup-rebuild.js';
import { StartRebuild } from './start-rebuild.use-case.js';

/** Rebuilds of this process. */
export interface Rebuilds {
  readonly worker: RebuildWorker;
  readonly jobs: RebuildJobs;
  readonly start: StartRebuild;
}

/** Puts together what rebuilds are made of. */
export function openRebuilds(
  options: MeteringOptions,
  upkeep: LedgerUpkeep,
  sink: BatchSink,
  metrics: MeteringMetrics,
): Rebuilds {
  const { runtime, database, eventLog, usageStore } = options;
  const { clock, random, logger, partitions: logPartitions } = runtime;
  const store = new RebuildStore(database, random);
  const parts = { database, eventLog, usageStore, sink, metrics, clock, random, logPartitions };
  const ways = {
    rollups: new RollupRebuild(upkeep, clock, random),
    ledger: new LedgerRebuild(parts),
  };
  const worker = new RebuildWorker({ store, ways, random, logger });
  const jobs = new RebuildJobs(options.jobs, worker);
  return { worker, jobs, start: new StartRebuild(store, ways, worker, jobs) };
}
