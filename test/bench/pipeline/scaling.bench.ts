/**
 * How metering scales: rows per CPU-second of 1, 2 and 4 processes over one backlog of 12 partitions,
 * and what members that come and go all the time do to it.
 */
import { delay, SystemClock } from '#libs/kernel';
import { eventually } from '#libs/testing';

import { isFaultless, type LedgerFaults } from '../../sink-worker/ledger-check.js';
import { estimate, shuffled, type Estimate } from '../statistics.js';
import { MeteringFleet, PARTITIONS } from './metering-fleet.js';

/** Processes that are compared. */
const SIZES = [1, 2, 4] as const;
/** Rows per CPU-second may fall by this share. */
const MOST_LOSS = 0.1;
/** Shares of the backlog between which a run is measured: code is warm, no partition is empty. */
const WINDOW = { from: 0.3, to: 0.9 };
const POLL_MS = 50;
/** A look that comes later than this behind the one before says that the machine stood still, milliseconds. */
const MOST_LOOK_MS = 250;
const DEADLINE_MS = 300_000;

/** One run over the backlog. */
export interface ScalingRun {
  readonly processes: number;
  readonly round: number;
  readonly rowsPerCpuSecond: number;
  readonly rowsPerSecond: number;
}

/** Figures of a size beside those of one process. */
export interface ScalingRatio {
  readonly processes: number;
  readonly rowsPerCpuSecond: Estimate;
  readonly rowsPerSecond: Estimate;
  /** Rows per CPU-second, this size to one process, per round. */
  readonly ratio: Estimate;
  readonly floor: number;
  readonly holds: boolean;
}

/** What members that come and go did. */
export interface StormResult {
  readonly seconds: number;
  readonly changes: number;
  readonly records: number;
  /** Committed while it lasted. */
  readonly rowsPerSecond: number;
  /** Longest time without a commit while records waited and the machine ran, milliseconds. */
  readonly longestStandstillMs: number;
  readonly faults: LedgerFaults;
  readonly isWhole: boolean;
}

/** Runs every size in every round, in random order, over the same records. */
export async function measureScaling(
  rounds: number,
  records: number,
  random: () => number,
  say: (line: string) => void,
): Promise<{ readonly runs: readonly ScalingRun[]; readonly ratios: readonly ScalingRatio[] }> {
  const fleet = await MeteringFleet.start({ isFast: true });
  const runs: ScalingRun[] = [];
  try {
    await fleet.append(Math.ceil(records / PARTITIONS));
    say(`${fleet.appendedRecords} records in the log`);
    for (let round = 1; round <= rounds; round += 1) {
      for (const processes of shuffled(SIZES, random)) {
        const run = { processes, round, ...(await consumeBacklog(fleet, processes)) };
        runs.push(run);
        say(
          `round ${round}: ${processes} processes, ${Math.round(run.rowsPerCpuSecond)} rows per CPU-second`,
        );
      }
    }
  } finally {
    await fleet.stop();
  }
  const of = (processes: number): ScalingRun[] => runs.filter((run) => run.processes === processes);
  const alone = new Map(of(1).map((run) => [run.round, run.rowsPerCpuSecond]));
  const ratios = SIZES.map((processes): ScalingRatio => {
    const own = of(processes);
    const ratio = estimate(
      own.map((run) => run.rowsPerCpuSecond / alone.get(run.round)!),
      random,
    );
    const floor = 1 - MOST_LOSS;
    return {
      processes,
      rowsPerCpuSecond: estimate(
        own.map((run) => run.rowsPerCpuSecond),
        random,
      ),
      rowsPerSecond: estimate(
        own.map((run) => run.rowsPerSecond),
        random,
      ),
      ratio,
      floor,
      holds: ratio.median >= floor,
    };
  });
  return { runs, ratios };
}

/** Figures of one run over the whole backlog by some processes. */
export async function consumeBacklog(
  fleet: MeteringFleet,
  processes: number,
): Promise<{
  readonly rowsPerCpuSecond: number;
  readonly rowsPerSecond: number;
  /** Rows per second of processor time of the members and of ClickHouse together. */
  readonly rowsPerCpuSecondWithStore: number;
}> {
  const clock = new SystemClock();
  const names = Array.from({ length: processes }, (_, index) => `metering-${index + 1}`);
  await fleet.renew();
  await fleet.startMembers(names);
  const reach = async (share: number) => {
    const wanted = share * fleet.appendedRecords;
    let rows = 0;
    await eventually(async () => (rows = await fleet.committed()) >= wanted, {
      deadlineMs: DEADLINE_MS,
    });
    const [cpuUs, storeUs] = [fleet.cpuUs(names), fleet.clickhouseCpuUs()];
    return { rows, cpuUs, storeUs, atMs: clock.monotonicMs() };
  };
  const from = await reach(WINDOW.from);
  const to = await reach(WINDOW.to);
  await reach(1);
  await fleet.endMembers();
  const rows = to.rows - from.rows;
  const cpuUs = to.cpuUs - from.cpuUs;
  return {
    rowsPerCpuSecond: (rows / cpuUs) * 1e6,
    rowsPerCpuSecondWithStore: (rows / (cpuUs + to.storeUs - from.storeUs)) * 1e6,
    rowsPerSecond: (rows / (to.atMs - from.atMs)) * 1e3,
  };
}

/** How a storm is run. */
export interface StormOptions {
  readonly seconds: number;
  /** Pause between two changes, milliseconds. */
  readonly everyMs: number;
  /** It lasts longer until so many changes have been made. @default 0 */
  readonly leastChanges?: number;
  /** Records per second that are appended meanwhile. */
  readonly rate: number;
  readonly random: () => number;
}

const STORM_MEMBERS = ['metering-1', 'metering-2', 'metering-3', 'metering-4'] as const;

/**
 * Members join and leave all the time, every third one by kill -9, while records keep coming; when it
 * is over, everything must be in the ledger once.
 */
export async function rideStorm(options: StormOptions): Promise<StormResult> {
  const { seconds, everyMs, leastChanges = 0, random } = options;
  const fleet = await MeteringFleet.start();
  const clock = new SystemClock();
  const judge = fleet.judge();
  try {
    const membership = new Membership(fleet, random);
    await membership.startTwo();
    const begunMs = clock.monotonicMs();
    const passedMs = (): number => clock.monotonicMs() - begunMs;
    const over = new AbortController();
    const feeding = feed(fleet, options.rate, over.signal);
    const watching = watchProgress(fleet, clock, over.signal);
    while (passedMs() < seconds * 1_000 || membership.changes < leastChanges) {
      membership.change();
      await delay(everyMs);
    }
    const rowsPerSecond = Math.round(((await fleet.committed()) / passedMs()) * 1_000);
    over.abort();
    await feeding;
    const longestStandstillMs = await watching;
    await finish(fleet);
    const faults = await judge.judge();
    return {
      seconds,
      changes: membership.changes,
      rowsPerSecond,
      records: judge.recordsJudged,
      longestStandstillMs: Math.round(longestStandstillMs),
      faults,
      isWhole: isFaultless(faults),
    };
  } finally {
    await judge.close();
    await fleet.stop();
  }
}

/** Who comes and goes; one that serves always stays. */
class Membership {
  private readonly serving = new Set<string>();
  changes = 0;

  constructor(
    private readonly fleet: MeteringFleet,
    private readonly random: () => number,
  ) {}

  async startTwo(): Promise<void> {
    const first = STORM_MEMBERS.slice(0, 2);
    await this.fleet.startMembers(first);
    for (const name of first) this.serving.add(name);
  }

  /**
   * One member leaves or joins. Neither a start nor an orderly end is waited for: the next change comes
   * in any case. Nothing happens while those who could change are still starting.
   */
  change(): void {
    const away = STORM_MEMBERS.filter((name) => !this.fleet.member(name).isRunning);
    const canLeave = this.serving.size > 1;
    const leaves = canLeave && (away.length === 0 || this.random() < 0.5);
    if (!leaves && away.length === 0) return;
    const from = leaves ? [...this.serving] : away;
    const name = from[Math.floor(this.random() * from.length)]!;
    this.changes += 1;
    if (leaves) this.leave(name);
    else this.join(name);
  }

  private leave(name: string): void {
    this.serving.delete(name);
    const signal = this.changes % 3 === 0 ? 'SIGKILL' : 'SIGTERM';
    void this.fleet.member(name).end(signal);
  }

  private join(name: string): void {
    const member = this.fleet.member(name);
    member.spawn(this.fleet.environment());
    member.untilReady().then(
      () => this.serving.add(name),
      // One that does not start never serves; the storm ends with what is left.
      () => undefined,
    );
  }
}

async function feed(fleet: MeteringFleet, rate: number, over: AbortSignal): Promise<void> {
  const perPartition = Math.ceil(rate / 10 / PARTITIONS);
  while (!over.aborted) {
    const pause = delay(100, over);
    await fleet.append(perPartition);
    await pause;
  }
}

async function watchProgress(
  fleet: MeteringFleet,
  clock: SystemClock,
  over: AbortSignal,
): Promise<number> {
  let [longestMs, stoodMs, rows, lookedMs] = [0, 0, 0, clock.monotonicMs()];
  while (!over.aborted) {
    const appended = fleet.appendedRecords;
    const now = await fleet.committed();
    const nowMs = clock.monotonicMs();
    stoodMs += Math.min(nowMs - lookedMs, MOST_LOOK_MS);
    lookedMs = nowMs;
    if (now !== rows || now >= appended) [rows, stoodMs] = [now, 0];
    longestMs = Math.max(longestMs, stoodMs);
    await delay(POLL_MS);
  }
  return longestMs;
}

/** Whoever still runs, and one more, bring it to its end. */
async function finish(fleet: MeteringFleet): Promise<void> {
  await fleet.endMembers('SIGTERM');
  await fleet.startMembers(['metering-1']);
  await eventually(async () => (await fleet.committed()) >= fleet.appendedRecords, {
    deadlineMs: DEADLINE_MS,
  });
  // Plans are DONE and the position moves in one transaction, so this is rest.
  await fleet.endMembers('SIGTERM');
}
