import { SystemClock } from '#libs/kernel';

import type { FaultCase, Injected } from '../cases/fault-case.js';
import { ChaosLoad, type LoadCounts } from '../load/chaos-load.js';
import type { ChaosLine } from './chaos-line.js';
import type { Installation, Settled } from './installation.js';
import { SeededRandom } from './seeded-random.js';

const REQUESTS_PER_SECOND = 60;
/** Pays for exactly ten quick calls: 10 input and 20 output tokens at $1.5 and $2.5 a million. */
const TIGHT_BUDGET_USD = 0.00065;

/** A cycle to be run. */
export interface PlannedCycle {
  readonly cycle: number;
  readonly seed: number;
  readonly fault: FaultCase;
}

const clock = new SystemClock();

/** The stream of chance of one cycle; the same for the same seed and number. */
function randomOf({ seed, cycle }: PlannedCycle): SeededRandom {
  return new SeededRandom(seed * 1_000_003 + cycle * 7_919);
}

/** What a cycle's service has to be armed with. */
function armingOf(planned: PlannedCycle): { service: string; failpoints: string } | null {
  return planned.fault.arming?.(randomOf(planned)) ?? null;
}

/**
 * Puts one fault into a running installation under load, waits for rest, and has it judged.
 * @param quietMs longest way back to rest, milliseconds
 */
export async function runCycle(
  installation: Installation,
  planned: PlannedCycle,
  next: PlannedCycle | undefined,
  quietMs: number,
): Promise<ChaosLine> {
  const { fault } = planned;
  const startedMs = clock.monotonicMs();
  const random = randomOf(planned);
  const arming = armingOf(planned);
  const keys = [...installation.keys, await installation.tightKey(TIGHT_BUDGET_USD)];
  if (arming !== null) await installation.arm(arming.service, arming.failpoints);
  const sinceByte = installation.logEnd();
  const { proxyUrl } = installation.cluster;
  const load = new ChaosLoad(proxyUrl, keys, REQUESTS_PER_SECOND, random);
  load.profile = fault.profile;
  load.start();
  let struckMs = clock.monotonicMs();
  const upcoming = next === undefined ? null : armingOf(next);
  let injected: Injected;
  try {
    injected = await fault.inject({
      installation,
      load,
      random,
      nextFailpoints: (service) => (upcoming?.service === service ? upcoming.failpoints : ''),
      struck: () => (struckMs = clock.monotonicMs()),
    });
  } catch (error) {
    injected = { hits: 0, broken: `the injection failed: ${String(error)}` };
  }
  await load.stop();
  const settled = await installation.untilQuiet(sinceByte, quietMs);
  load.close();
  const failpoints = countHits(installation.takeHits());
  return lineOf(planned, injected, settled, load.counts, {
    failpoints,
    recoveryMs: settled.atMs === null ? null : Math.round(settled.atMs - struckMs),
    tookMs: Math.round(clock.monotonicMs() - startedMs),
  });
}

/** The line of a cycle that could not be judged. */
export function lineWithoutVerdict(
  { cycle, seed, fault }: PlannedCycle,
  error: unknown,
): ChaosLine {
  return {
    cycle,
    fault: fault.id,
    variant: fault.variant,
    seed,
    hits: 0,
    failpoints: {},
    attempts: 0,
    lost: 0,
    doubled: 0,
    imbalance_pusd: '0',
    estimated: 0,
    overspent: 0,
    sequence_faults: 0,
    misrated: 0,
    rollup_cells_off: 0,
    recovery_ms: null,
    http_5xx: 0,
    verdict: 'broken',
    notes: [`there is no verdict: ${String(error)}`],
    took_ms: 0,
  };
}

interface Measured {
  readonly failpoints: Readonly<Record<string, number>>;
  readonly recoveryMs: number | null;
  readonly tookMs: number;
}

function lineOf(
  { cycle, seed, fault }: PlannedCycle,
  injected: Injected,
  { verdict, atMs }: Settled,
  counts: LoadCounts,
  measured: Measured,
): ChaosLine {
  const forbidden = [...counts.failed].filter(([code]) => !fault.allows5xx.includes(code));
  const notes = [
    ...(injected.broken == null ? [] : [injected.broken]),
    ...(injected.skipped === undefined ? [] : [injected.skipped]),
    ...(atMs === null ? verdict.waiting.map((what) => `after the deadline: ${what}`) : []),
    ...forbidden.map(([code, times]) => `${times} answers "${code}"`),
    ...verdict.examples,
  ];
  const isSound =
    verdict.quiet &&
    verdict.lost === 0 &&
    verdict.doubled === 0 &&
    verdict.imbalancePusd === '0' &&
    verdict.overspent + verdict.sequence + verdict.misrated + verdict.rollup === 0 &&
    forbidden.length === 0 &&
    injected.broken == null;
  return {
    cycle,
    fault: fault.id,
    variant: fault.variant,
    seed,
    hits: injected.hits,
    failpoints: measured.failpoints,
    attempts: verdict.attempts,
    lost: verdict.lost,
    doubled: verdict.doubled,
    imbalance_pusd: verdict.imbalancePusd,
    estimated: verdict.estimated,
    overspent: verdict.overspent,
    sequence_faults: verdict.sequence,
    misrated: verdict.misrated,
    rollup_cells_off: verdict.rollup,
    recovery_ms: measured.recoveryMs,
    http_5xx: [...counts.failed.values()].reduce((sum, times) => sum + times, 0),
    verdict: verdictOf(isSound, injected),
    notes,
    took_ms: measured.tookMs,
  };
}

function verdictOf(isSound: boolean, injected: Injected): ChaosLine['verdict'] {
  if (!isSound) return 'broken';
  if (injected.skipped !== undefined) return 'skipped';
  return injected.hits > 0 ? 'held' : 'not_hit';
}

function countHits(hits: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const hit of hits) {
    const name = hit.split(' ')[0] ?? '';
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}
