import { Module, type DynamicModule, type Provider } from '@nestjs/common';

import { LogRetentionWorker } from '#libs/event-log/adapters';
import { TOPICS } from '#libs/events';
import { DeadLetterDesk, OutboxRelay, type OutboxWriter } from '#libs/platform/postgres';
import { rpcClient, rpcService } from '#libs/platform/rpc';
import { PRICE_DIRECTORY_METHODS, type PriceDirectory } from '#libs/pricing/core';
import {
  METERING_PROGRESS_METHODS,
  RATED_REPLAY_METHODS,
  RATED_REPLAY_SERVICE,
} from '#libs/usage/core';

import { USAGE_HANDLER, USAGE_LINGER, UsageConsumer } from './consumers/usage.consumer.js';
import { DeadLetterDesks } from './dead-letters/dead-letter-desks.js';
import { DeadLetterRetries } from './dead-letters/dead-letter-retries.js';
import { DeadLettersController } from './dead-letters/dead-letters.controller.js';
import { OPERATOR_SECRET } from './dead-letters/operator.guard.js';
import { RetryDeadLetter } from './dead-letters/retry-dead-letter.use-case.js';
import { MeteringLifecycle } from './metering-lifecycle.js';
import type { MeteringOptions } from './metering-options.js';
import { openRebuilds, type Rebuilds } from './rebuild/open-rebuilds.js';
import { RebuildsController } from './rebuild/rebuilds.controller.js';
import { StartRebuild } from './rebuild/start-rebuild.use-case.js';
import { LedgerJobs } from './sealing/ledger-jobs.js';
import { LedgerWorkers, type Worker } from './sealing/ledger-workers.js';
import { OrphanSweep } from './sealing/orphan-sweep.js';
import { RollupCheck } from './sealing/rollup-check.js';
import { RollupMerging } from './sealing/rollup-merging.js';
import { SealMetrics } from './sealing/seal-metrics.js';
import { SealWorker } from './sealing/seal.worker.js';
import type { BatchSink } from './sink/batch-sink.js';
import { GapResendWorker } from './sink/gap-resend.worker.js';
import { LogLedgerProgress } from './sink/ledger-progress.js';
import { LogRatedReplay } from './sink/log-rated-replay.js';
import { MeteringOwner } from './sink/metering-owner.js';
import type { MeteringMetrics } from './sink/metering-metrics.js';
import { openSink } from './sink/open-sink.js';
import { OwnRecords } from './sink/own-records.js';
import { RetentionWorker } from './sink/retention.worker.js';

/** Terminal records are kept in the log for 7 days after they are in the ledger. */
const KEEP_REQUESTS_SECONDS = 7 * 86_400;

/** What keeps the ledger visible, clean and checked. */
function ledgerWorkersOf(
  options: MeteringOptions,
  sink: BatchSink,
  rebuilds: Rebuilds | null,
): LedgerWorkers {
  const { runtime, database, usageStore, ledgerUpkeep: upkeep, jobs } = options;
  const { clock, random, logger } = runtime;
  const { seals: queue } = sink;
  const metrics = new SealMetrics(runtime.metrics);
  const workers: Worker[] = [
    new SealWorker({ database, queue, usageStore, clock, random, logger, metrics }),
  ];
  if (upkeep !== undefined && jobs !== undefined) {
    const check = new RollupCheck({ upkeep, clock, random, logger, metrics });
    const merging = new RollupMerging({ upkeep, clock, random, logger, metrics });
    const sweep = new OrphanSweep({ database, upkeep, usageStore, clock, logger, metrics });
    workers.push(new LedgerJobs({ jobs, check, merging, sweep, queue, database }));
  }
  if (rebuilds !== null) workers.push(rebuilds.worker, rebuilds.jobs);
  return new LedgerWorkers(workers);
}

/** Offers what other services ask of metering. */
function exposePorts(options: MeteringOptions, sink: BatchSink): void {
  const { runtime, database, eventLog, host } = options;
  const { clock, logger, partitions: logPartitions } = runtime;
  const { streams, seals } = sink;
  const progressParts = { database, eventLog, streams, seals, clock, logPartitions };
  const progress = new LogLedgerProgress(progressParts);
  host.expose(rpcService('metering.progress', progress, METERING_PROGRESS_METHODS));
  const replay = new LogRatedReplay({
    database,
    eventLog,
    sink,
    clock,
    logger,
    logPartitions,
  });
  host.expose(rpcService(RATED_REPLAY_SERVICE, replay, RATED_REPLAY_METHODS));
}

/** What sees to it that missing records come. */
function gapsOf(
  options: MeteringOptions,
  { streams }: BatchSink,
  outbox: OutboxWriter,
  metrics: MeteringMetrics,
): GapResendWorker {
  const { database, eventLog, runtime } = options;
  const { clock, logger, partitions: logPartitions } = runtime;
  const own = new OwnRecords({ database, eventLog, outbox, clock, logger, logPartitions });
  return new GapResendWorker({ database, outbox, streams, own, clock, metrics, logger });
}

/** The objects of the service, wired by hand: none of them knows the framework. */
function providersOf(options: MeteringOptions): Provider[] {
  const { runtime, database, eventLog, usageStore } = options;
  const { clock, random, logger, partitions: logPartitions } = runtime;
  const { sink, owner, health, metrics, outbox, handle, lingerMs } = openSink({
    clock,
    random,
    logger,
    metrics: runtime.metrics,
    logPartitions,
    database,
    eventLog,
    usageStore,
    lingerMs: options.lingerMs,
    prices: rpcClient<PriceDirectory>(options.rpc, 'auth.prices', PRICE_DIRECTORY_METHODS),
  });
  const relay = new OutboxRelay({
    database,
    service: 'metering',
    writer: outbox,
    append: (records) => eventLog.append(records),
    random,
    logger,
  });
  const gaps = gapsOf(options, sink, outbox, metrics);
  const { ledgerUpkeep } = options;
  const rebuilds =
    ledgerUpkeep === undefined ? null : openRebuilds(options, ledgerUpkeep, sink, metrics);
  const ledgerWorkers = ledgerWorkersOf(options, sink, rebuilds);
  const { plans, streams } = sink;
  const retention = new RetentionWorker({ database, plans, streams, logger });
  const logRetention = new LogRetentionWorker({
    eventLog,
    database,
    keepSeconds: {
      [TOPICS.requestCompleted]: KEEP_REQUESTS_SECONDS,
      [TOPICS.requestRejected]: KEEP_REQUESTS_SECONDS,
    },
    logger,
  });
  exposePorts(options, sink);
  const desks = desksOf(options, sink, outbox);
  const retries = new DeadLetterRetries({ desks, jobs: options.jobs, logger });
  runtime.health.register('metering', async () => {
    await health.check();
    await usageStore.ping();
  });
  return [
    { provide: USAGE_HANDLER, useValue: handle },
    { provide: USAGE_LINGER, useValue: lingerMs },
    { provide: DeadLetterDesks, useValue: desks },
    { provide: DeadLetterRetries, useValue: retries },
    { provide: OPERATOR_SECRET, useValue: options.adminApiKey ?? null },
    ...(rebuilds === null ? [] : [{ provide: StartRebuild, useValue: rebuilds.start }]),
    { provide: MeteringOwner, useValue: owner },
    {
      provide: MeteringLifecycle,
      useFactory: () =>
        new MeteringLifecycle({
          usageStore,
          relay,
          retention,
          logRetention,
          owner,
          gaps,
          ledgerWorkers: new LedgerWorkers([ledgerWorkers, retries]),
        }),
    },
  ];
}

/** The dead letters of all services, for the operator. */
function desksOf(options: MeteringOptions, sink: BatchSink, outbox: OutboxWriter): DeadLetterDesks {
  const { runtime, database, rpc } = options;
  const { clock, logger, partitions: logPartitions } = runtime;
  const { streams } = sink;
  const use = new RetryDeadLetter({ outbox, streams, clock, logger, logPartitions });
  const own = new DeadLetterDesk({
    service: 'metering',
    database,
    retry: (tx, letter) => use.execute(tx, letter),
    holdOf: ({ topic }) => (topic === TOPICS.requestCompleted ? 'unknown' : 'none'),
  });
  return new DeadLetterDesks(own, rpc, logger);
}

/** Metering: carries usage from the event log to the ledger, exactly once, and tells the budgets. */
@Module({})
export class MeteringModule {
  /** @param options infrastructure that outlives the module */
  static register(options: MeteringOptions): DynamicModule {
    return {
      module: MeteringModule,
      controllers: [
        UsageConsumer,
        DeadLettersController,
        ...(options.ledgerUpkeep === undefined ? [] : [RebuildsController]),
      ],
      providers: providersOf(options),
      exports: [MeteringOwner],
    };
  }
}
