import { Counter, Gauge, type Registry } from 'prom-client';

/** What is counted around seals and rollups. */
export class SealMetrics {
  readonly sealed: Counter;
  /** 1 while committed batches cannot be made visible to figures; an alarm. */
  readonly sealingStopped: Gauge;
  /** Batches in the ledger that nobody committed, removed. */
  readonly orphans: Counter;
  /** Batches without seal that are too old to be judged; an alarm. */
  readonly unsealed: Gauge;
  /** Hours whose rollup differed from its rows and was put right; any is an alarm. */
  readonly rollupDifferences: Counter;

  constructor(registry: Registry) {
    const registers = [registry];
    this.sealed = new Counter({
      name: 'metering_batches_sealed_total',
      help: 'Batches made visible to figures.',
      registers,
    });
    this.sealingStopped = new Gauge({
      name: 'metering_sealing_stopped',
      help: '1 while committed batches cannot be made visible to figures.',
      registers,
    });
    this.orphans = new Counter({
      name: 'metering_orphan_batches_total',
      help: 'Batches removed from the ledger because nobody committed them.',
      registers,
    });
    this.unsealed = new Gauge({
      name: 'metering_unsealed_batches',
      help: 'Batches older than a day that have no seal and whose plan is no longer kept.',
      registers,
    });
    this.rollupDifferences = new Counter({
      name: 'metering_rollup_differences_total',
      help: 'Hours whose rollup differed from its rows and was put right.',
      registers,
    });
  }
}
