import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** What metering counts. */
export class MeteringMetrics {
  /** Rows that reached the ledger. */
  readonly rows: Counter<'topic'>;
  /** Records dropped because they had arrived before. */
  readonly repeats: Counter<'topic'>;
  readonly deadLetters: Counter<'topic' | 'class'>;
  /** Rows whose cost the proxy stated otherwise; any is a fault to look into. */
  readonly costMismatches: Counter;
  /** Gaps opened in emitters' streams. */
  readonly gaps: Counter;
  /** Batches whose rows had to be looked at in the store, by what was needed. */
  readonly repairs: Counter<'repair'>;
  /** 1 while a partition cannot go on; an alarm. */
  readonly stopped: Gauge<'topic' | 'partition'>;
  readonly batchSeconds: Histogram<'topic'>;

  constructor(registry: Registry) {
    const registers = [registry];
    this.rows = new Counter({
      name: 'metering_rows_total',
      help: 'Rows written to the ledger.',
      labelNames: ['topic'],
      registers,
    });
    this.repeats = new Counter({
      name: 'metering_repeats_total',
      help: 'Records dropped because they had arrived before.',
      labelNames: ['topic'],
      registers,
    });
    this.deadLetters = new Counter({
      name: 'metering_dead_letters_total',
      help: 'Records parked because they can never be read.',
      labelNames: ['topic', 'class'],
      registers,
    });
    this.costMismatches = new Counter({
      name: 'metering_cost_mismatch_total',
      help: 'Rows whose cost the proxy stated otherwise.',
      registers,
    });
    this.gaps = new Counter({
      name: 'metering_gaps_total',
      help: 'Gaps opened in the streams of emitters.',
      registers,
    });
    this.repairs = new Counter({
      name: 'metering_verifications_total',
      help: 'Batches verified in the store, by what was needed.',
      labelNames: ['repair'],
      registers,
    });
    this.stopped = new Gauge({
      name: 'metering_partition_stopped',
      help: '1 while a partition cannot go on.',
      labelNames: ['topic', 'partition'],
      registers,
    });
    this.batchSeconds = new Histogram({
      name: 'metering_batch_seconds',
      help: 'Time from reading a batch to its commit.',
      labelNames: ['topic'],
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
      registers,
    });
  }
}
