import type { FaultCase } from '../cases/fault-case.js';
import { FAULT_CASES } from '../cases/index.js';
import type { ChaosLine } from './chaos-line.js';
import { ChaosUsageError } from './chaos-options.js';
import { Installation } from './installation.js';
import { lineWithoutVerdict, runCycle, type PlannedCycle } from './run-cycle.js';

/** Longest way back to rest, milliseconds. */
const QUIET_MS = 60_000;
/** The same where other suites run beside it: it bounds the wait, and measures nothing. */
const SMOKE_QUIET_MS = 180_000;

/** What a run does. */
export interface ChaosRunOptions {
  /** Number of the first cycle. */
  readonly from: number;
  readonly cycles: number;
  readonly faults: readonly string[];
  readonly seed: number;
  readonly perBoot: number;
  /** Whether slow cases are left out. */
  readonly isSmoke: boolean;
  /** Told each line as soon as there is one. */
  readonly onLine: (line: ChaosLine) => void;
  /** Told where the data and logs of a broken cycle were kept. */
  readonly onKept: (directory: string) => void;
}

/**
 * Runs cycles one after the other, several on one boot of the product. After a broken cycle the boot's
 * folder is kept and a fresh boot goes on, so that one fault is never judged twice.
 */
export async function runChaos(options: ChaosRunOptions): Promise<readonly ChaosLine[]> {
  const cases = casesOf(options.faults, options.isSmoke);
  const lines: ChaosLine[] = [];
  const last = options.from + options.cycles;
  const plan = (cycle: number): PlannedCycle | undefined =>
    cycle < last
      ? { cycle, seed: options.seed, fault: cases[(cycle - 1) % cases.length]! }
      : undefined;
  let installation: Installation | undefined;
  const abort = (): void => {
    void (installation?.destroy({ keep: false }) ?? Promise.resolve()).finally(() =>
      process.exit(1),
    );
  };
  process.once('SIGINT', abort);
  process.once('SIGTERM', abort);
  let onBoot = 0;
  try {
    for (let cycle = options.from; cycle < last; cycle += 1) {
      installation ??= await Installation.boot();
      const line = await runCycle(
        installation,
        plan(cycle)!,
        plan(cycle + 1),
        options.isSmoke ? SMOKE_QUIET_MS : QUIET_MS,
      ).catch((error: unknown) => lineWithoutVerdict(plan(cycle)!, error));
      lines.push(line);
      options.onLine(line);
      onBoot += 1;
      const isBroken = line.verdict === 'broken';
      if (isBroken || onBoot >= options.perBoot) {
        const kept = await installation.destroy({ keep: isBroken });
        installation = undefined;
        if (kept !== null) options.onKept(kept);
        onBoot = 0;
      }
    }
  } finally {
    process.off('SIGINT', abort);
    process.off('SIGTERM', abort);
    await installation?.destroy({ keep: false });
  }
  return lines;
}

/** How many cases a run takes in turn. */
export function countCases(ids: readonly string[], isSmoke: boolean): number {
  return casesOf(ids, isSmoke).length;
}

function casesOf(ids: readonly string[], isSmoke: boolean): readonly FaultCase[] {
  const unknown = ids.filter((id) => !FAULT_CASES.some((fault) => fault.id === id));
  if (unknown.length > 0) throw new ChaosUsageError(`no fault is called ${unknown.join(', ')}`);
  const asked = ids.length === 0 ? FAULT_CASES : FAULT_CASES.filter(({ id }) => ids.includes(id));
  return isSmoke ? asked.filter(({ isSlow }) => isSlow !== true) : asked;
}
