import { pruneBudget, readStanding, type BudgetReconciler } from '#libs/budgets/adapters';
import { messageOf, PeriodicWorker, type Clock } from '#libs/kernel';
import type { Database } from '#libs/platform/postgres';
import type { Logger } from '#libs/platform/telemetry';

import type { BudgetAlarms } from '../budget-alarms.js';
import type { BudgetMetrics } from '../budget-metrics.js';

/** Pause between looks, milliseconds: a block that everything else missed is set within two. */
const PASS_EVERY_MS = 1_000;
/** Pause between deletions of old rows, milliseconds. */
const PRUNE_EVERY_MS = 600_000;

/** What the worker is built from. */
export interface ReconcilerWorkerParts {
  readonly reconciler: BudgetReconciler;
  readonly database: Database;
  readonly clock: Clock;
  readonly logger: Pick<Logger, 'warn'>;
  readonly metrics: BudgetMetrics;
  readonly alarms: BudgetAlarms;
}

/** Looks once a second, in every instance; a failed pass is made again by the next one. */
export class ReconcilerWorker extends PeriodicWorker {
  private prunedAtMs = Number.NEGATIVE_INFINITY;

  constructor(private readonly parts: ReconcilerWorkerParts) {
    super();
  }

  protected async pass(): Promise<void> {
    const { reconciler, database, clock, metrics, alarms } = this.parts;
    const { corrected } = await reconciler.execute();
    metrics.corrected(corrected);
    const standing = await readStanding(database);
    metrics.standing(standing);
    alarms.looked(standing);
    if (clock.monotonicMs() - this.prunedAtMs < PRUNE_EVERY_MS) return;
    await pruneBudget(database);
    this.prunedAtMs = clock.monotonicMs();
  }

  protected failed(error: unknown): void {
    this.parts.logger.warn({ reason: messageOf(error) }, 'budget reconciler will try again');
  }

  protected pauseMs(): number {
    return PASS_EVERY_MS;
  }
}
