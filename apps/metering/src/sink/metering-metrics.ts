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
    const counter = <T extends string>(name: string, help: string, labelNames: T[]): Counter<T> =>
      new Counter({ name, help, labelNames, registers });
    const gauge = <T extends string>(name: string, help: string, labelNames: T[]): Gauge<T> =>
      new Gauge({ name, help, labelNames, registers });
    this.rows = counter('metering_rows_total', 'Rows written to the ledger.', ['topic']);
    this.repeats = counter(
      'metering_repeats_total',
      'Records dropped because they had arrived before.',
      ['topic'],
    );
    this.deadLetters = counter(
      'metering_dead_letters_total',
      'Records parked because they can never be read.',
      ['topic', 'class'],
    );
    this.costMismatches = counter(
      'metering_cost_mismatch_total',
      'Rows whose cost the proxy stated otherwise.',
      [],
    );
    this.gaps = counter('metering_gaps_total', 'Gaps opened in the streams of emitters.', []);
    this.openGaps = gauge(
      'metering_gaps_open',
      'Gaps in the streams of emitters that are not closed.',
      [],
    );
    this.resendsRepeated = counter(
      'metering_resends_repeated_total',
      'Ranges that an emitter was asked for once more.',
      [],
    );
    this.recordsLost = counter(
      'metering_records_lost_total',
      'Records that their emitter gave up as lost.',
      [],
    );
    this.unknownHolds = counter(
      'metering_dead_letters_hold_unknown_total',
      'Parked records of attempts whose hold cannot be read; nothing is booked for them.',
      [],
    );
    this.repairs = counter(
      'metering_verifications_total',
      'Batches verified in the store, by what was needed.',
      ['repair'],
    );
    this.stopped = gauge('metering_partition_stopped', '1 while a partition cannot go on.', [
      'topic',
      'partition',
    ]);
    this.lingerSeconds = gauge(
      'metering_linger_seconds',
      'How long a batch waits for more records; grows while batches take much of the time.',
      [],
    );
    this.batchSeconds = new Histogram({
      name: 'metering_batch_seconds',
      help: 'Time from reading a batch to its commit.',
      labelNames: ['topic'],
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
      registers,
    });
  }
}
