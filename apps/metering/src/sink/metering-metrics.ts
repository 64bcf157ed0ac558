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
  /** Gaps open now, as last counted. */
  readonly openGaps: Gauge;
  /** Ranges asked for more than once, each time. */
  readonly resendsRepeated: Counter;
  /** Records that their emitter gave up as lost; an alarm. */
  readonly recordsLost: Counter;
  /** Parked records of attempts of which not even the hold is known; an alarm. */
  readonly unknownHolds: Counter;
  /** Batches whose rows had to be looked at in the store, by what was needed. */
  readonly repairs: Counter<'repair'>;
  /** 1 while a partition cannot go on; an alarm. */
  readonly stopped: Gauge<'topic' | 'partition'>;
  readonly batchSeconds: Histogram<'topic'>;
  /** How long a batch waits for more records now. */
  readonly lingerSeconds: Gauge;

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
    this.lingerSeconds = linger(registry);
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
    this.openGaps = new Gauge({
      name: 'metering_gaps_open',
      help: 'Gaps in the streams of emitters that are not closed.',
      registers,
    });
    this.resendsRepeated = new Counter({
      name: 'metering_resends_repeated_total',
      help: 'Ranges that an emitter was asked for once more.',
      registers,
    });
    this.recordsLost = new Counter({
      name: 'metering_records_lost_total',
      help: 'Records that their emitter gave up as lost.',
      registers,
    });
    this.unknownHolds = new Counter({
      name: 'metering_dead_letters_hold_unknown_total',
      help: 'Parked records of attempts whose hold cannot be read; nothing is booked for them.',
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

function linger(registry: Registry): Gauge {
  return new Gauge({
    name: 'metering_linger_seconds',
    help: 'How long a batch waits for more records; grows while batches take much of the time.',
    registers: [registry],
  });
}
