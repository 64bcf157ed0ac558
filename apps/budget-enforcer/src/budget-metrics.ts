import { Counter, Gauge, type Registry } from 'prom-client';

import type { AuthorityObserver, BudgetStanding, SettlementReport } from '#libs/budgets/adapters';

/** What the guard counts. */
export class BudgetMetrics implements AuthorityObserver {
  private readonly holdsOpen: Gauge;
  private readonly parked: Gauge;
  private readonly vain: Gauge;
  private readonly deniedTotal: Counter<'reason'>;
  private readonly overrunTotal: Counter<'cause'>;
  private readonly appliedTotal: Counter;
  private readonly duplicateTotal: Counter;
  private readonly deadLetterTotal: Counter<'topic'>;
  private readonly correctedTotal: Counter;
  private readonly replayTotal: Counter<'outcome'>;

  constructor(registry: Registry) {
    const registers = [registry];
    this.holdsOpen = new Gauge({
      name: 'budget_holds_open',
      help: 'Holds that are neither settled nor released.',
      registers,
    });
    this.parked = new Gauge({
      name: 'budget_rated_parked',
      help: 'Rated batches that wait behind a missing one; any for longer than 60 s is an alarm.',
      registers,
    });
    this.vain = new Gauge({
      name: 'budget_rated_unfilled',
      help: 'Missing rated batches that were sent again three times in vain; any is an alarm.',
      registers,
    });
    this.deniedTotal = new Counter({
      name: 'budget_denied_total',
      help: 'Holds that were refused.',
      labelNames: ['reason'],
      registers,
    });
    this.overrunTotal = new Counter({
      name: 'budget_overrun_total',
      help: 'Charges that their hold did not cover; any is an alarm.',
      labelNames: ['cause'],
      registers,
    });
    this.appliedTotal = new Counter({
      name: 'budget_rated_applied_total',
      help: 'Rated batches that were settled.',
      registers,
    });
    this.duplicateTotal = new Counter({
      name: 'budget_rated_duplicate_total',
      help: 'Rated batches that had been settled before.',
      registers,
    });
    this.deadLetterTotal = new Counter({
      name: 'budget_dead_letter_total',
      help: 'Records that could not be understood and were set aside.',
      labelNames: ['topic'],
      registers,
    });
    this.correctedTotal = new Counter({
      name: 'budget_block_corrected_total',
      help: 'Blocks that only the reconciler or its job set or lifted.',
      registers,
    });
    this.replayTotal = new Counter({
      name: 'budget_rated_replay_total',
      help: 'Missing rated batches that metering was asked to send again.',
      labelNames: ['outcome'],
      registers,
    });
  }

  /** @param outcome `asked` or `failed` */
  replayAsked(outcome: 'asked' | 'failed'): void {
    this.replayTotal.inc({ outcome });
  }

  /** @param holes missing rated batches that were sent again in vain */
  unfilled(holes: number): void {
    this.vain.set(holes);
  }

  denied(reason: string): void {
    this.deniedTotal.inc({ reason });
  }

  settled(report: SettlementReport): void {
    this.appliedTotal.inc(report.applied);
    this.duplicateTotal.inc(report.duplicates);
    for (const { cause } of report.overruns) this.overrunTotal.inc({ cause });
  }

  setAside(topic: string, letters: number): void {
    if (letters > 0) this.deadLetterTotal.inc({ topic }, letters);
  }

  corrected(accounts: number): void {
    this.correctedTotal.inc(accounts);
  }

  standing(standing: BudgetStanding): void {
    this.holdsOpen.set(standing.openHolds);
    this.parked.set(standing.parkedBatches);
  }
}
