import { once } from 'node:events';

import { Pool } from 'pg';

import { TOPICS } from '#libs/events';
import { delay, SystemClock } from '#libs/kernel';
import { eventually } from '#libs/testing';

import { quantile } from '../bench/statistics.js';
import { partsKnownButAbsent, removeNewestPart } from './crash-window.js';
import {
  PARTITIONS,
  startFaultEngines,
  type EngineChoice,
  type FaultEngines,
} from './fault-engines.js';
import { isFaultless, LedgerCheck, PostgresTopic, type LedgerFaults } from './ledger-check.js';
import { KafkaTopic } from './kafka-topic.js';
import { UsageRecords } from './usage-records.js';
import { WorkerHandle } from './worker-handle.js';

/** Faults that a run can inject; their names are those of the project's fault table. */
export const FAULTS = ['D1', 'D2', 'D3', 'D4', 'D11', 'D14'] as const;

/** One of them. */
export type FaultId = (typeof FAULTS)[number];

/** What to do. */
export interface FaultRunOptions extends EngineChoice {
  readonly fault: FaultId;
  /** Hits to reach; a try whose fault came too late to matter is none. */
  readonly hits: number;
  /** Records of each batch. */
  readonly rows: number;
  /** 0 up to 1, for kill times, cut places and partitions. */
  readonly random: () => number;
}

/** What one hit did. */
export interface HitReport {
  readonly fault: FaultId;
  readonly hit: number;
  /** Tries so far, hits and misses. */
  readonly tries: number;
  /** Where the fault struck: a failpoint, milliseconds after the insert was sent, or bytes of it. */
  readonly at: string;
  /** From the fault to the moment when everything is in the ledger, milliseconds. */
  readonly recoveryMs: number;
  readonly records: number;
  readonly faults: LedgerFaults;
  /** Parts whose token is known although they are not there, as found on disk after a kill. */
  readonly crashWindows: number;
}

/** What a run found. */
export interface FaultRunSummary {
  readonly fault: FaultId;
  readonly log: EngineChoice['log'];
  readonly store: EngineChoice['store'];
  readonly hits: number;
  readonly tries: number;
  readonly records: number;
  readonly faultyHits: number;
  readonly crashWindows: number;
  readonly recoveryP50Ms: number;
  readonly recoveryP99Ms: number;
}

/** Where a worker is killed for a fault; hits take turns. */
const KILL_POINTS: Readonly<Partial<Record<FaultId, readonly string[]>>> = {
  D1: ['sink.after_read'],
  D2: ['sink.after_plan'],
  D4: ['sink.after_insert', 'sink.before_commit'],
  D14: ['sink.after_insert'],
};
/** Tries per hit before a run gives up. */
const MOST_TRIES = 12;
/** Longest a kill waits after the insert was sent, milliseconds. */
const MOST_KILL_DELAY_MS = 200;
/** Most bytes of a row on the wire; a cut behind the body is a miss. */
const ROW_BYTES = 1_500;
const DEADLINE_MS = 120_000;
/** Workers that are loaded ahead; loading takes a second of one core. */
const STANDBY = 2;

interface Strike {
  readonly at: string;
  /** False when the insert was over before the fault came. */
  readonly isHit: boolean;
  readonly struckMs: number;
  readonly crashWindows: number;
}

/** Injects one fault again and again into the sink and lets an independent check judge each time. */
export class FaultRun {
  private readonly clock = new SystemClock();
  private readonly records: UsageRecords;
  private readonly check: LedgerCheck;
  private readonly pool: Pool;
  private worker: WorkerHandle;
  /** Load their code while the other one works, so that a restart takes no time. */
  private readonly standby: WorkerHandle[];
  private readonly absentParts = new Set<string>();
  /** What an insert usually takes, milliseconds: most kills come within it. */
  private insertMs = 40;

  private constructor(
    private readonly options: FaultRunOptions,
    private readonly engines: FaultEngines,
  ) {
    this.records = new UsageRecords({
      partitions: PARTITIONS,
      keysPerPartition: 20,
      clock: this.clock,
    });
    const topic =
      engines.kafkaBrokers === null
        ? new PostgresTopic(engines.databaseUrl)
        : new KafkaTopic(engines.kafkaBrokers);
    this.check = new LedgerCheck(
      engines.databaseUrl,
      topic,
      engines.ask ?? ((sql) => this.worker.ask(sql)),
      `${engines.worker.ledger}.raw_usage_v1`,
    );
    this.pool = new Pool({ connectionString: engines.databaseUrl, max: 2 });
    this.worker = new WorkerHandle(engines.worker);
    this.standby = Array.from({ length: STANDBY }, () => new WorkerHandle(engines.worker));
  }

  /** Runs until the hits are reached. @throws Error when a fault does not take place or heal */
  static async run(
    options: FaultRunOptions,
    onHit: (report: HitReport) => void = () => undefined,
  ): Promise<FaultRunSummary> {
    const engines = await startFaultEngines(options);
    const run = new FaultRun(options, engines);
    try {
      await run.prepare();
      return await run.strikeAll(onHit);
    } finally {
      await Promise.all([run.worker, ...run.standby].map((worker) => worker.kill()));
      await run.check.close();
      await run.pool.end();
      await engines.stop();
    }
  }

  private async prepare(): Promise<void> {
    await this.worker.go();
    if (this.options.fault !== 'D14') return;
    await this.ask(
      'ALTER TABLE ledger.raw_usage_v1 MODIFY SETTING non_replicated_deduplication_window = 1',
    );
  }

  private async strikeAll(onHit: (report: HitReport) => void): Promise<FaultRunSummary> {
    const { fault, hits: wanted, log, store } = this.options;
    const recoveriesMs: number[] = [];
    let [tries, hits, faultyHits, crashWindows] = [0, 0, 0, 0];
    for (; hits < wanted; tries += 1) {
      if (tries >= wanted * MOST_TRIES) throw new Error(`${fault}: ${hits} hits in ${tries} tries`);
      const strike = await this.strike(tries);
      await this.rest();
      const recoveryMs = Math.round(this.clock.monotonicMs() - strike.struckMs);
      const faults = await this.check.judge();
      await this.agePlans();
      if (!strike.isHit && isFaultless(faults)) continue;
      hits += 1;
      crashWindows += strike.crashWindows;
      recoveriesMs.push(recoveryMs);
      if (!isFaultless(faults)) faultyHits += 1;
      onHit({
        fault,
        hit: hits,
        tries: tries + 1,
        at: strike.at,
        recoveryMs,
        records: this.check.recordsJudged,
        faults,
        crashWindows: strike.crashWindows,
      });
    }
    return {
      fault,
      log,
      store,
      hits,
      tries,
      records: this.check.recordsJudged,
      faultyHits,
      crashWindows,
      recoveryP50Ms: quantile(recoveriesMs, 0.5),
      recoveryP99Ms: quantile(recoveriesMs, 0.99),
    };
  }

  private strike(turn: number): Promise<Strike> {
    const { fault, store } = this.options;
    const points = KILL_POINTS[fault];
    if (points !== undefined) return this.killAt(points[turn % points.length]!);
    if (fault === 'D3') return this.cutInsert();
    if (this.options.inCrashWindow === true) return this.killInWindow();
    return store === 'server' ? this.killServer() : this.killEmbedded();
  }

  /** The worker ends itself at a failpoint; the next one takes over. */
  private async killAt(point: string): Promise<Strike> {
    this.worker.arm(`${point}=kill9`);
    await this.append();
    await within(this.worker.whenGone(), `the worker does not come to ${point}`);
    const struckMs = this.clock.monotonicMs();
    if (this.options.fault === 'D14') await this.forgetTokens();
    await this.takeOver();
    return { at: point, isHit: true, struckMs, crashWindows: 0 };
  }

  /** kill -9 of the ClickHouse process while it has an insert; then it is started again. */
  private async killServer(): Promise<Strike> {
    const server = this.engines.clickhouse!.process!;
    const { isAnswered } = await this.beginInsert();
    const waitMs = this.killDelayMs();
    await delay(waitMs);
    await server.kill();
    const struckMs = this.clock.monotonicMs();
    const isHit = !(await isAnswered);
    const crashWindows = this.crashWindows(server.dataDir);
    await server.start();
    return { at: `${waitMs.toFixed(1)} ms`, isHit, struckMs, crashWindows };
  }

  /**
   * ClickHouse ends after the token is noted and before the part is in place. Where nothing can be
   * loaded into it, both processes die after the insert and the part is taken away: the same files.
   */
  private async killInWindow(): Promise<Strike> {
    const { trap } = this.engines;
    const server = this.engines.clickhouse!.process!;
    if (trap === null) {
      this.worker.arm('sink.after_insert=kill9');
      await this.append();
      await within(this.worker.whenGone(), 'the worker does not end');
      await server.kill();
      removeNewestPart(server.dataDir);
    } else {
      trap.set();
      const { isAnswered } = await this.beginInsert();
      if (await isAnswered) throw new Error('the trap does not catch the insert');
      await server.kill();
      trap.lift();
    }
    const struckMs = this.clock.monotonicMs();
    const crashWindows = this.crashWindows(server.dataDir);
    await server.start();
    if (trap === null) await this.takeOver();
    const at = trap === null ? 'part taken away' : 'before the rename';
    return { at, isHit: crashWindows > 0, struckMs, crashWindows };
  }

  /** kill -9 of the worker that holds the engine, while it has an insert. */
  private async killEmbedded(): Promise<Strike> {
    await this.beginInsert();
    const waitMs = this.killDelayMs();
    await delay(waitMs);
    await this.worker.kill();
    const struckMs = this.clock.monotonicMs();
    const isHit = this.worker.inFlight > 0;
    const { clickhouse } = this.engines.worker;
    const crashWindows = clickhouse.kind === 'embedded' ? this.crashWindows(clickhouse.dataDir) : 0;
    await this.takeOver();
    return { at: `${waitMs.toFixed(1)} ms`, isHit, struckMs, crashWindows };
  }

  /** The connection breaks after some bytes of the insert. */
  private async cutInsert(): Promise<Strike> {
    const proxy = this.engines.proxy!;
    const afterBytes = Math.floor(this.options.random() * this.options.rows * ROW_BYTES);
    proxy.set({ kind: 'cut', afterBytes });
    const { isAnswered } = await this.beginInsert();
    const isHit = !(await isAnswered);
    const struckMs = this.clock.monotonicMs();
    proxy.set({ kind: 'none' });
    return { at: `${afterBytes} bytes`, isHit, struckMs, crashWindows: 0 };
  }

  /** Appends a batch and waits until its insert begins, which may be over by then. */
  private async beginInsert(): Promise<{ readonly isAnswered: Promise<boolean> }> {
    const { worker } = this;
    const begun = once(worker, 'insert');
    // At rest no insert runs: the next one to end is this one.
    const ended = worker.endOfInsert();
    await this.append();
    await within(begun, 'no insert begins');
    const begunMs = this.clock.monotonicMs();
    const isAnswered = ended.then((answered) => {
      const tookMs = this.clock.monotonicMs() - begunMs;
      if (answered) this.insertMs = 0.7 * this.insertMs + 0.3 * tookMs;
      return answered;
    });
    return { isAnswered };
  }

  /** Crash windows on disk that were not there before. */
  private crashWindows(dataDir: string): number {
    const found = partsKnownButAbsent(dataDir).filter((part) => !this.absentParts.has(part));
    for (const part of found) this.absentParts.add(part);
    return found.length;
  }

  private killDelayMs(): number {
    const { random } = this.options;
    const mostMs =
      random() < 0.75 ? Math.min(this.insertMs, MOST_KILL_DELAY_MS) : MOST_KILL_DELAY_MS;
    return random() * mostMs;
  }

  private async append(): Promise<void> {
    const { random, rows } = this.options;
    const partition = Math.floor(random() * PARTITIONS);
    await this.engines.eventLog.append(this.records.next(partition, rows));
  }

  private async takeOver(): Promise<void> {
    this.worker = this.standby.shift()!;
    this.standby.push(new WorkerHandle(this.engines.worker));
    await within(this.worker.go(), 'the next worker does not start');
  }

  /** Another insert takes the only place in the window; its row is removed again. */
  private async forgetTokens(): Promise<void> {
    await this.ask(
      "INSERT INTO ledger.raw_usage_v1 (event_id, batch_id, recorded_at) SELECT generateUUIDv4(), 'stray', toDateTime64('2001-01-01 00:00:00', 3, 'UTC')",
    );
    await this.ask('ALTER TABLE ledger.raw_usage_v1 DROP PARTITION 200101');
  }

  private async ask(sql: string): Promise<void> {
    const { ask } = this.engines;
    if (ask === null)
      throw new Error(`${this.options.fault} needs a ClickHouse of its own process`);
    await ask(sql);
  }

  /** Waits until everything in the log is committed. */
  private async rest(): Promise<void> {
    const { eventLog } = this.engines;
    await eventually(
      async () => {
        const { rows } = await this.pool.query<{ partition: number; next: string }>(
          `SELECT partition, next_offset AS next FROM metering.log_position p WHERE topic = $1
              AND NOT EXISTS (SELECT 1 FROM metering.sink_plan WHERE state = 'PREPARED')`,
          [TOPICS.requestCompleted],
        );
        const nextOf = new Map(rows.map(({ partition, next }) => [partition, BigInt(next)]));
        for (let partition = 0; partition < PARTITIONS; partition += 1) {
          const { next } = await eventLog.bounds(TOPICS.requestCompleted, partition);
          const isThrough = nextOf.get(partition) === next;
          if (!isThrough) throw new Error(`at rest it is not: ${this.worker.lastFailure ?? ''}`);
        }
      },
      { deadlineMs: DEADLINE_MS },
    );
  }

  /** A start verifies the batches of the last minutes: those that were judged need not be among them. */
  private async agePlans(): Promise<void> {
    await this.pool.query(
      `UPDATE metering.sink_plan SET done_at = done_at - interval '1 hour'
        WHERE state = 'DONE' AND done_at > now() - interval '30 minutes'`,
    );
  }
}

async function within<T>(promise: Promise<T>, otherwise: string): Promise<T> {
  const timer = new AbortController();
  const late = delay(DEADLINE_MS, timer.signal).then(() => {
    throw new Error(otherwise);
  });
  late.catch(() => undefined);
  try {
    return await Promise.race([promise, late]);
  } finally {
    timer.abort();
  }
}
