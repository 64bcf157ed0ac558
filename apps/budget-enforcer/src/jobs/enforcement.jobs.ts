import type { BudgetReconciler } from '#libs/budgets/adapters';
import type { AccountId } from '#libs/budgets/core';
import type { Job, Jobs } from '#libs/jobs/core';
import { AppError } from '#libs/kernel';

import type { BudgetMetrics } from '../budget-metrics.js';

/** The job that looks at one account. */
const ENFORCE_BUDGET = 'enforce-budget';
/** One transaction on one row. */
const LIMITS = { concurrency: 4, timeoutMs: 10_000 };

/**
 * Enforcement ahead of the reconciler: a settlement that exhausts an account asks for a look at it.
 * Whether the job is done, once or twice or never, changes nothing but the moment: the look is at the
 * level of the account, and the reconciler makes the same one every second.
 */
export class EnforcementJobs {
  constructor(
    private readonly jobs: Pick<Jobs, 'queue' | 'workers'>,
    private readonly reconciler: Pick<BudgetReconciler, 'enforce'>,
    private readonly metrics: Pick<BudgetMetrics, 'corrected'>,
  ) {}

  /** Runs the jobs in this process from now on. */
  start(): void {
    this.jobs.workers.process(ENFORCE_BUDGET, (job) => this.enforce(job), LIMITS);
  }

  /** Asks for a look at accounts and waits for nothing. */
  request(accounts: readonly AccountId[]): void {
    for (const { budgetId, epoch } of accounts) {
      void this.jobs.queue.add(
        ENFORCE_BUDGET,
        { budget_id: budgetId, epoch },
        { id: `${budgetId}.${epoch}` },
      );
    }
  }

  private async enforce({ data }: Job): Promise<void> {
    this.metrics.corrected(await this.reconciler.enforce([toAccount(data)]));
  }
}

/** @throws AppError `budget.malformed_job`, which is never tried again */
function toAccount(data: Job['data']): AccountId {
  const { budget_id: budgetId, epoch } = data;
  if (typeof budgetId === 'string' && Number.isInteger(epoch)) {
    return { budgetId, epoch: epoch as number };
  }
  throw new AppError({
    code: 'budget.malformed_job',
    kind: 'invalid',
    publicMessage: 'the job names no budget account',
  });
}
