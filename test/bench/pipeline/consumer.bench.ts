/**
 * G8: one metering process beside ClickHouse's own Kafka engine over the same records, and G16: what a
 * row of the ledger takes on disk.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { TOPICS } from '#libs/events';

import { estimate, shuffled } from '../statistics.js';
import { MeteringFleet, PARTITIONS } from './metering-fleet.js';
import { single, type PartOptions, type PartResult, type PipelineFigure } from './part.js';
import { consumeBacklog } from './scaling.bench.js';

const runFile = promisify(execFile);
const CHILD = join(import.meta.dirname, 'kafka-engine.child.js');
const CHILD_TIMEOUT_MS = 300_000;
const G8_FLOOR = 0.7;
const G16_FLOOR = 0.15;

interface ConsumerRun {
  readonly subject: 'metering' | 'kafka engine';
  readonly round: number;
  readonly rowsPerCpuSecond: number;
  readonly rowsPerSecond: number;
  /** Equal for the Kafka engine, whose process is the store. */
  readonly rowsPerCpuSecondWithStore: number;
}

/** Measures both in every round, in random order, then the size of the ledger. */
export async function measureConsumer(
  options: PartOptions,
  parts: { readonly hasG8: boolean; readonly hasG16: boolean },
): Promise<PartResult> {
  const { records, rounds, random, profileDir, say } = options;
  const fleet = await MeteringFleet.start({ isFast: true, profileDir });
  const runs: ConsumerRun[] = [];
  try {
    await fleet.append(Math.ceil(records / PARTITIONS));
    say(`${fleet.appendedRecords} records in the log`);
    const turns = parts.hasG8 ? rounds : 0;
    for (let round = 1; round <= turns; round += 1) {
      for (const subject of shuffled(['metering', 'kafka engine'] as const, random)) {
        const run = { subject, round, ...(await runOnce(fleet, subject, round)) };
        runs.push(run);
        const us = 1e6 / run.rowsPerCpuSecond;
        const whole = 1e6 / run.rowsPerCpuSecondWithStore;
        say(
          `round ${round}: ${subject} ${us.toFixed(1)} CPU-us per row, ${whole.toFixed(1)} with the store`,
        );
      }
    }
    const figures = parts.hasG8 ? g8(runs, random) : [];
    const size = parts.hasG16 ? await diskOf(fleet) : null;
    if (size !== null) figures.push(...g16(size));
    return { figures, runs: { consumer: runs, size } };
  } finally {
    await fleet.stop();
  }
}

async function runOnce(fleet: MeteringFleet, subject: ConsumerRun['subject'], round: number) {
  if (subject === 'metering') return consumeBacklog(fleet, 1);
  const dataDir = mkdtempSync(join(tmpdir(), 'tollgate-bench-peer-'));
  try {
    const group = `peer-${round}`;
    const args = [fleet.brokers.join(','), TOPICS.requestCompleted, group, dataDir];
    const { stdout } = await runFile(
      process.execPath,
      [CHILD, ...args, String(fleet.appendedRecords)],
      { timeout: CHILD_TIMEOUT_MS },
    ).catch((error: { stdout?: string }) => {
      // It ends itself by SIGKILL, because the engine waits long for its consumer at an orderly end.
      if (error.stdout?.startsWith('{') === true) return { stdout: error.stdout };
      throw error;
    });
    const found = JSON.parse(stdout) as { rowsPerCpuSecond: number; rowsPerSecond: number };
    return { ...found, rowsPerCpuSecondWithStore: found.rowsPerCpuSecond };
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
}

function g8(runs: readonly ConsumerRun[], random: () => number): PipelineFigure[] {
  const of = (subject: ConsumerRun['subject']) => runs.filter((run) => run.subject === subject);
  const peer = new Map(of('kafka engine').map((run) => [run.round, run.rowsPerCpuSecond]));
  const ratio = (pick: (run: ConsumerRun) => number) =>
    estimate(
      of('metering').map((run) => pick(run) / peer.get(run.round)!),
      random,
    );
  const cost = (subject: ConsumerRun['subject'], pick: (run: ConsumerRun) => number) =>
    estimate(
      of(subject).map((run) => 1e6 / pick(run)),
      random,
    );
  const floor = { limit: G8_FLOOR, isUpper: false };
  return [
    {
      id: 'G8',
      text: 'rows per CPU-second, metering / Kafka engine',
      value: ratio((run) => run.rowsPerCpuSecond),
      floor,
    },
    {
      id: '',
      text: 'the same with the CPU of ClickHouse added to ours',
      value: ratio((run) => run.rowsPerCpuSecondWithStore),
      floor: null,
    },
    {
      id: '',
      text: 'metering, CPU-us per row',
      value: cost('metering', (run) => run.rowsPerCpuSecond),
      floor: null,
    },
    {
      id: '',
      text: 'Kafka engine, CPU-us per row',
      value: cost('kafka engine', (run) => run.rowsPerCpuSecond),
      floor: null,
    },
  ];
}

interface LedgerSize {
  readonly rows: number;
  readonly bytesPerRow: number;
  readonly rollupBytesPerRow: number;
  readonly jsonBytesPerRow: number;
}

/** Consumes the backlog, merges the ledger to its end and looks at its parts. */
async function diskOf(fleet: MeteringFleet): Promise<LedgerSize> {
  await consumeBacklog(fleet, 1);
  const size = async (table: string) => {
    await fleet.ask(`OPTIMIZE TABLE tollgate.${table} FINAL`);
    const [found] = (await fleet.ask(
      `SELECT sum(rows) AS row_count, sum(bytes_on_disk) AS bytes FROM system.parts
        WHERE active AND database = 'tollgate' AND table = '${table}'`,
    )) as { row_count: string; bytes: string }[];
    return { rows: Number(found!.row_count), bytes: Number(found!.bytes) };
  };
  const raw = await size('raw_usage_v1');
  const rollup = await size('rollup_hour');
  return {
    rows: raw.rows,
    bytesPerRow: raw.bytes / raw.rows,
    rollupBytesPerRow: rollup.bytes / raw.rows,
    jsonBytesPerRow: fleet.appendedBytes / fleet.appendedRecords,
  };
}

function g16(size: LedgerSize): PipelineFigure[] {
  return [
    {
      id: 'G16',
      text: 'bytes per usage row on disk / JSON bytes of its record',
      value: single(size.bytesPerRow / size.jsonBytesPerRow),
      floor: { limit: G16_FLOOR, isUpper: true },
    },
    {
      id: '',
      text: 'bytes per usage row on disk',
      value: single(size.bytesPerRow),
      floor: null,
    },
  ];
}
