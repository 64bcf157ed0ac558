import { Counter, Gauge, type Registry } from 'prom-client';

/** What is counted around seals and rollups. */
export class SealMetrics {
  readonly sealed: Counter;
  /** 1 while committed batches cannot be made visible to figures; an alarm. */
  readonly sealingStopped: Gauge;
  /** Batches in the ledger that nobody committed, removed. */
  readonly orphans: Counter;
  /** Batches that are planned and a day old but have no seal; an alarm. */
  readonly unsealed: Gauge;
  /** Hours whose rollup differed from its rows and was put right; any is an alarm. */
  readonly rollupDifferences: Counter;
  /** Batches whose cells were merged into sums of closed hours. */
  readonly merged: Counter;
  /** Batches that the last pass did not merge, because their cells are not what their seal says. */
  readonly mergeRefused: Gauge;
  /** Merged sums that were not those of their cells and were withdrawn; any is an alarm. */
  readonly staleMerges: Counter;
  /** Rows beyond the first of an attempt; any is an alarm. */
  readonly repeatedRows: Counter;
  /** Until when rollups have been compared with their rows, seconds since 1970. */
  readonly checkedThrough: Gauge;

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
      help: 'Batches older than a day that have a plan but no seal.',
      registers,
    });
    this.rollupDifferences = new Counter({
      name: 'metering_rollup_differences_total',
      help: 'Hours whose rollup differed from its rows and was put right.',
      registers,
    });
    this.merged = new Counter({
      name: 'metering_batches_merged_total',
      help: 'Batches whose cells were merged into sums of closed hours.',
      registers,
    });
    this.mergeRefused = new Gauge({
      name: 'metering_merge_refused_batches',
      help: 'Batches that the last pass did not merge: their cells are not what their seal says.',
      registers,
    });
    this.staleMerges = new Counter({
      name: 'metering_stale_merges_total',
      help: 'Merged sums that were not those of their cells and were withdrawn.',
      registers,
    });
    this.repeatedRows = new Counter({
      name: 'metering_repeated_rows_total',
      help: 'Rows beyond the first of an attempt, as the hourly check found them.',
      registers,
    });
    this.checkedThrough = new Gauge({
      name: 'metering_rollup_checked_through_seconds',
      help: 'Until when rollups have been compared with their rows, seconds since 1970.',
      registers,
    });
  }
}
