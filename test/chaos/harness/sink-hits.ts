import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { SystemClock } from '#libs/kernel';

import type { ChaosLine } from './chaos-line.js';

/** Faults of the sink alone that a worker without services is hit by, hundreds of times a minute. */
export const SINK_FAULTS = ['D4', 'D11'] as const;

const clock = new SystemClock();
const RUN = join(import.meta.dirname, '..', '..', 'sink-worker', 'run.js');

/** A line of the sink worker. */
interface SinkLine {
  readonly summary?: true;
  readonly at: string;
  readonly recoveryMs: number;
  /** Records judged, those of all hits before included. */
  readonly records: number;
  /** All "0" or 0 when nothing is wrong. */
  readonly faults: Readonly<Record<'lost' | 'doubled' | 'imbalancePusd', string | number>>;
}

/**
 * Has the sink worker hit so many times.
 * @param from number of the first line
 */
export async function runSinkHits(
  fault: string,
  hits: number,
  seed: number,
  from: number,
  onLine: (line: ChaosLine) => void,
): Promise<readonly ChaosLine[]> {
  const args = ['--fault', fault, '--hits', String(hits), '--seed', String(seed), '--json'];
  const child = spawn(process.execPath, [RUN, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines: ChaosLine[] = [];
  let lastMs = clock.monotonicMs();
  let judged = 0;
  for await (const text of createInterface({ input: child.stdout })) {
    const hit = JSON.parse(text) as SinkLine;
    if (hit.summary === true) continue;
    const nowMs = clock.monotonicMs();
    const fresh = { ...hit, records: hit.records - judged };
    judged = hit.records;
    const line = lineOf(fault, seed, from + lines.length, fresh, Math.round(nowMs - lastMs));
    lastMs = nowMs;
    lines.push(line);
    onLine(line);
  }
  return lines;
}

function lineOf(
  fault: string,
  seed: number,
  cycle: number,
  { at, recoveryMs, records, faults }: SinkLine,
  tookMs: number,
): ChaosLine {
  const wrong = Object.entries(faults).filter(([, value]) => Number(value) !== 0);
  return {
    cycle,
    fault,
    variant: `sink worker, ${at.replace(/\d+/g, 'n')}`,
    seed,
    hits: 1,
    failpoints: at.startsWith('sink.') ? { [at]: 1 } : {},
    attempts: records,
    lost: Number(faults.lost),
    doubled: Number(faults.doubled),
    imbalance_pusd: String(faults.imbalancePusd).replace('-', ''),
    estimated: 0,
    overspent: 0,
    sequence_faults: 0,
    misrated: 0,
    rollup_cells_off: 0,
    recovery_ms: recoveryMs,
    http_5xx: 0,
    verdict: wrong.length === 0 ? 'held' : 'broken',
    notes: wrong.map(([name, value]) => `${name}: ${String(value)}`),
    took_ms: tookMs,
  };
}
