import type { Measurement } from './proxy.bench.js';
import { estimate, median, type Estimate } from './statistics.js';
import { SUBJECTS, type SubjectName } from './subject.js';
import { TRAFFIC, type TrafficName } from './traffic.js';

/** How far nginx's own figure may lie from its median for a run to count. */
const CONTROL_BAND = 0.15;

/** A ratio of a run with its floor. */
export interface Ratio {
  readonly id: string;
  readonly text: string;
  readonly value: Estimate;
  /** Null for a figure shown beside without a floor of its own. */
  readonly floor: { readonly limit: number; readonly isUpper: boolean } | null;
  readonly holds: boolean | null;
}

/** What a run says. */
export interface ProxySummary {
  readonly ratios: readonly Ratio[];
  /** Traffic whose control left its band: that part of the run is to be discarded. */
  readonly discarded: readonly TrafficName[];
}

/** Draws the conclusions of a run. @param random of the bootstrap */
export function summarize(measured: readonly Measurement[], random: () => number): ProxySummary {
  const of = (
    id: string,
    text: string,
    traffic: TrafficName,
    above: SubjectName,
    below: SubjectName,
    floor: Ratio['floor'],
  ): Ratio => {
    const value = estimate(ratiosOf(measured, traffic, above, below), random);
    const holds =
      floor === null
        ? null
        : floor.isUpper
          ? value.median <= floor.limit
          : value.median >= floor.limit;
    return { id, text, value, floor, holds };
  };
  const most = (limit: number): Ratio['floor'] => ({ limit, isUpper: true });
  const least = (limit: number): Ratio['floor'] => ({ limit, isUpper: false });
  const ratios = [
    of('G1', 'governed / nginx, per request', 'plain', 'governed', 'nginx', most(6)),
    of('', 'with a budget / nginx, per request', 'plain', 'budgeted', 'nginx', null),
    of('', 'ungoverned / nginx, per request', 'plain', 'ungoverned', 'nginx', null),
    of('G3', 'ungoverned / governed, per request', 'plain', 'ungoverned', 'governed', least(0.8)),
    of('', 'ungoverned / with a budget', 'plain', 'ungoverned', 'budgeted', null),
    of('G4', 'governed / nginx, per event', 'stream', 'governed', 'nginx', most(2.2)),
    of('', 'with a budget / nginx, per event', 'stream', 'budgeted', 'nginx', null),
    of('', 'ungoverned / nginx, per event', 'stream', 'ungoverned', 'nginx', null),
  ];
  return {
    ratios: ratios.filter(({ value }) => !Number.isNaN(value.median)),
    discarded: TRAFFIC.filter((name) => !isSteady(measured, name)),
  };
}

/** One ratio per round. */
function ratiosOf(
  measured: readonly Measurement[],
  traffic: TrafficName,
  above: SubjectName,
  below: SubjectName,
): number[] {
  const of = (subject: SubjectName): Measurement[] =>
    measured.filter((one) => one.traffic === traffic && one.subject === subject);
  const byRound = new Map(of(below).map((one) => [one.round, one.perUnitUs]));
  return of(above).map((one) => one.perUnitUs / (byRound.get(one.round) ?? Number.NaN));
}

function isSteady(measured: readonly Measurement[], traffic: TrafficName): boolean {
  const values = measured
    .filter((one) => one.traffic === traffic && one.subject === 'nginx')
    .map((one) => one.perUnitUs);
  const middle = median(values);
  return values.every((value) => Math.abs(value / middle - 1) <= CONTROL_BAND);
}

/** The tables of a run. */
export function printed(measured: readonly Measurement[], summary: ProxySummary): string {
  const lines = [
    ...table('plain, 400 B in, 532 B out', 'request', measured, 'plain'),
    '',
    ...table('streamed, 40 chunks 5 ms apart', 'event', measured, 'stream'),
    '',
    'ratios: median over the rounds [95 % interval]',
    ...summary.ratios.map(ratioLine),
  ];
  for (const traffic of summary.discarded) {
    lines.push(
      `DISCARD ${traffic}: nginx left ${CONTROL_BAND * 100} % around its median; run again`,
    );
  }
  return `${lines.join('\n')}\n`;
}

function table(
  title: string,
  unit: string,
  measured: readonly Measurement[],
  traffic: TrafficName,
): string[] {
  const head = [`CPU us/${unit}`, `${unit}s/s`, 'p50 ms', 'p99 ms'];
  const rows = SUBJECTS.flatMap((subject) => {
    const own = measured.filter((one) => one.traffic === traffic && one.subject === subject);
    if (own.length === 0) return [];
    const of = (pick: (one: Measurement) => number): number => median(own.map(pick));
    const cells = [
      of((one) => one.perUnitUs).toFixed(1),
      of((one) => one.perSecond).toFixed(0),
      (of((one) => one.p50Us) / 1_000).toFixed(2),
      (of((one) => one.p99Us) / 1_000).toFixed(2),
    ];
    return [[subject === 'direct' ? 'direct (upstream)' : subject, ...cells]];
  });
  return [
    title,
    ...[['', ...head], ...rows].map((cells) =>
      cells.map((cell, at) => (at === 0 ? cell.padEnd(20) : cell.padStart(16))).join(''),
    ),
  ];
}

function ratioLine({ id, text, value, floor, holds }: Ratio): string {
  const figures = `${value.median.toFixed(2)} [${value.low.toFixed(2)}, ${value.high.toFixed(2)}]`;
  const start = `${id.padEnd(4)}${text.padEnd(40)}${figures.padEnd(22)}`;
  if (floor === null) return start.trimEnd();
  return `${start}${floor.isUpper ? '<=' : '>='} ${floor.limit}  ${holds ? 'pass' : 'MISS'}`;
}
