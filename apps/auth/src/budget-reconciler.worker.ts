import { Counter, type Registry } from 'prom-client';

import { messageOf, PeriodicWorker, type Clock } from '#libs/kernel';
import type { Logger } from '#libs/platform/telemetry';

import type { ReconcileBudgets } from './use-cases/reconcile-budgets.use-case.js';

/** What the worker is built from. */
export interface BudgetReconcilerWorkerParts {
  readonly reconcile: Pick<ReconcileBudgets, 'execute'>;
  readonly clock: Clock;
  readonly metrics: Registry;
  readonly logger: Pick<Logger, 'warn'>;
}

/** Shortest pause between two passes, milliseconds. */
const PAUSE_MS = 15_000;
/** A pass takes at most one part in five of the time, however many budgets there are. */
const PAUSE_PER_PASS = 4;

/** Compares budgets with their authority, in one instance at a time, for as long as auth runs. */
export class BudgetReconcilerWorker extends PeriodicWorker {
  private readonly corrections: Counter<'what'>;
  private tookMs = 0;

  constructor(private readonly parts: BudgetReconcilerWorkerParts) {
    super();
    this.corrections = new Counter({
      name: 'auth_budget_corrections_total',
      help: 'Definitions and states of budgets that only the comparison with the authority brought.',
      labelNames: ['what'],
      registers: [parts.metrics],
    });
  }

  protected async pass(): Promise<void> {
    const { reconcile, clock } = this.parts;
    const startMs = clock.monotonicMs();
    try {
      const corrected = await reconcile.execute(this.signal);
      if (corrected === null) return;
      this.corrections.inc({ what: 'definition' }, corrected.definitions);
      this.corrections.inc({ what: 'state' }, corrected.states);
    } finally {
      this.tookMs = clock.monotonicMs() - startMs;
    }
  }

  protected failed(error: unknown): void {
    const reason = messageOf(error);
    this.parts.logger.warn({ reason }, 'budgets could not be compared; again soon');
  }

  protected pauseMs(): number {
    return Math.max(PAUSE_MS, PAUSE_PER_PASS * this.tookMs);
  }
}
