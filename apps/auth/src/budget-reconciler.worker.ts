import { Counter, type Registry } from 'prom-client';

import { delay, messageOf, type Clock } from '#libs/kernel';
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
export class BudgetReconcilerWorker {
  private readonly stopping = new AbortController();
  private readonly corrections: Counter<'what'>;
  private running: Promise<void> | undefined;

  constructor(private readonly parts: BudgetReconcilerWorkerParts) {
    this.corrections = new Counter({
      name: 'auth_budget_corrections_total',
      help: 'Definitions and states of budgets that only the comparison with the authority brought.',
      labelNames: ['what'],
      registers: [parts.metrics],
    });
  }

  /** Starts comparing in the background; a pass that failed is made again after the pause. */
  start(): void {
    this.running ??= this.run();
  }

  /** Finishes the page in hand. */
  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  private async run(): Promise<void> {
    const { clock, logger } = this.parts;
    const { signal } = this.stopping;
    while (!signal.aborted) {
      const startMs = clock.monotonicMs();
      try {
        await this.pass(signal);
      } catch (error) {
        logger.warn({ reason: messageOf(error) }, 'budgets could not be compared; again soon');
      }
      const tookMs = clock.monotonicMs() - startMs;
      await delay(Math.max(PAUSE_MS, PAUSE_PER_PASS * tookMs), signal);
    }
  }

  private async pass(signal: AbortSignal): Promise<void> {
    const corrected = await this.parts.reconcile.execute(signal);
    if (corrected === null) return;
    this.corrections.inc({ what: 'definition' }, corrected.definitions);
    this.corrections.inc({ what: 'state' }, corrected.states);
  }
}
