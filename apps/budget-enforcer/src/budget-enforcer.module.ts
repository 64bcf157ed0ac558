import { Module, type DynamicModule, type FactoryProvider } from '@nestjs/common';

import { BudgetOutbox, BudgetReconciler, PostgresBudgetAuthority } from '#libs/budgets/adapters';
import { BUDGET_AUTHORITY_METHODS, BUDGET_SERVICE, BudgetAuthority } from '#libs/budgets/core';
import { LogRetentionWorker } from '#libs/event-log/adapters';
import { TOPICS } from '#libs/events';
import {
  DEAD_LETTER_DESK_METHODS,
  DeadLetterDesk,
  OutboxRelay,
  OutboxWriter,
  PartitionPositions,
} from '#libs/platform/postgres';
import { rpcClient, rpcService } from '#libs/platform/rpc';
import { RATED_REPLAY_METHODS, RATED_REPLAY_SERVICE, type RatedReplay } from '#libs/usage/core';

import { BudgetAlarms } from './budget-alarms.js';
import { BudgetBackground } from './budget-background.js';
import type { BudgetEnforcerOptions } from './budget-enforcer-options.js';
import { BudgetMetrics } from './budget-metrics.js';
import { ApplyControlBatch } from './consumers/apply-control-batch.use-case.js';
import { ApplyRatedBatch } from './consumers/apply-rated-batch.use-case.js';
import { BudgetLogController } from './consumers/budget-log.controller.js';
import type { ConsumptionParts } from './consumers/log-consumption.js';
import { RetryDeadLetter } from './consumers/retry-dead-letter.use-case.js';
import { EnforcementJobs } from './jobs/enforcement.jobs.js';
import { RatedReplayWorker } from './jobs/rated-replay.worker.js';
import { ReconcilerWorker } from './jobs/reconciler.worker.js';

/** Rated batches are kept in the log for 30 days after they were settled. */
const KEEP_RATED_SECONDS = 30 * 86_400;

/** The budget guard: accounts, holds, settlement, announcements. */
@Module({})
export class BudgetEnforcerModule {
  /**
   * The module on the engines it is given. It offers the RPC services `budget` and
   * `budget.dead-letters`, registers the
   * readiness checks `budget.database` and `budget.settlement`, and works in the background from
   * bootstrap to shutdown.
   */
  static register(options: BudgetEnforcerOptions): DynamicModule {
    const { runtime, database, host } = options;
    const alarms = new BudgetAlarms(runtime.clock);
    runtime.health.register('budget.database', async () => {
      await database.query('SELECT 1');
    });
    runtime.health.register('budget.settlement', async () => alarms.check());
    const metrics = new BudgetMetrics(runtime.metrics);
    const writer = new OutboxWriter();
    const outbox = new BudgetOutbox(writer, runtime.clock, runtime.random);
    const authority = new PostgresBudgetAuthority({ database, outbox, observer: metrics });
    host.expose(rpcService(BUDGET_SERVICE, authority, BUDGET_AUTHORITY_METHODS));
    exposeDeadLetters(options, outbox);
    const reconciler = new BudgetReconciler(database, outbox);
    const enforcement = new EnforcementJobs(options.jobs, reconciler, metrics);
    const parts = { database, positions: new PartitionPositions(), metrics, alarms };
    return {
      module: BudgetEnforcerModule,
      controllers: [BudgetLogController],
      providers: [
        { provide: BudgetAuthority, useValue: authority },
        ...consumerProviders(parts, outbox, enforcement),
        backgroundProvider(options, parts, writer, reconciler, enforcement),
      ],
    };
  }
}

function exposeDeadLetters({ database, host }: BudgetEnforcerOptions, outbox: BudgetOutbox): void {
  const use = new RetryDeadLetter(outbox);
  const desk = new DeadLetterDesk({
    service: 'budget-enforcer',
    database,
    retry: (tx, letter) => use.execute(tx, letter),
  });
  host.expose(rpcService('budget.dead-letters', desk, DEAD_LETTER_DESK_METHODS));
}

function consumerProviders(
  parts: ConsumptionParts,
  outbox: BudgetOutbox,
  enforcement: EnforcementJobs,
): FactoryProvider[] {
  return [
    { provide: ApplyRatedBatch, useFactory: () => new ApplyRatedBatch(parts, outbox, enforcement) },
    { provide: ApplyControlBatch, useFactory: () => new ApplyControlBatch(parts, outbox) },
  ];
}

function backgroundProvider(
  options: BudgetEnforcerOptions,
  parts: ConsumptionParts,
  writer: OutboxWriter,
  reconciler: BudgetReconciler,
  enforcement: EnforcementJobs,
): FactoryProvider {
  const { database, eventLog, runtime } = options;
  const { clock, logger, random } = runtime;
  return {
    provide: BudgetBackground,
    useFactory: () =>
      new BudgetBackground(
        new ReconcilerWorker({
          reconciler,
          database,
          clock,
          logger,
          metrics: parts.metrics,
          alarms: parts.alarms,
        }),
        new LogRetentionWorker({
          eventLog,
          database,
          keepSeconds: { [TOPICS.usageRated]: KEEP_RATED_SECONDS },
          logger,
        }),
        new OutboxRelay({
          database,
          service: 'budget-enforcer',
          writer,
          append: (records) => eventLog.append(records),
          random,
          logger,
        }),
        enforcement,
        replayWorker(options, parts),
      ),
  };
}

function replayWorker(
  { database, eventLog, runtime, rpc, replayAfterMs }: BudgetEnforcerOptions,
  { metrics, alarms }: ConsumptionParts,
): RatedReplayWorker {
  const { clock, logger } = runtime;
  const replay = rpcClient<RatedReplay>(rpc, RATED_REPLAY_SERVICE, RATED_REPLAY_METHODS);
  return new RatedReplayWorker({
    database,
    eventLog,
    replay,
    clock,
    logger,
    metrics,
    alarms,
    patienceMs: replayAfterMs,
  });
}
