import type { ChaosLine } from './chaos-line.js';

const COLUMNS = [
  'fault',
  'cycles',
  'hits',
  'attempts',
  'lost',
  'doubled',
  'imbalance pUSD',
  'estimated',
  'recovery p50/p99 ms',
  '5xx',
  'broken',
];

/** The table of a run, one line per fault id, as Markdown. */
export function summaryOf(lines: readonly ChaosLine[]): string {
  const ids = [...new Set(lines.map(({ fault }) => fault))].toSorted(byFaultId);
  const rows = ids.map((id) =>
    rowOf(
      id,
      lines.filter((line) => line.fault === id),
    ),
  );
  const table = [COLUMNS, COLUMNS.map(() => '---'), ...rows, rowOf('all', lines)];
  return table.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

/** How often each failpoint acted, most first. */
export function failpointsOf(lines: readonly ChaosLine[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const { failpoints } of lines) {
    for (const [name, hits] of Object.entries(failpoints)) {
      counts.set(name, (counts.get(name) ?? 0) + hits);
    }
  }
  return new Map([...counts].toSorted((one, other) => other[1] - one[1]));
}

function rowOf(id: string, lines: readonly ChaosLine[]): string[] {
  const sum = (value: (line: ChaosLine) => number): number =>
    lines.reduce((total, line) => total + value(line), 0);
  const attempts = sum((line) => line.attempts);
  const imbalance = lines.reduce((total, line) => total + BigInt(line.imbalance_pusd), 0n);
  const recoveries = lines.flatMap(({ recovery_ms: ms }) => (ms === null ? [] : [ms]));
  const share = attempts === 0 ? 0 : (100 * sum((line) => line.estimated)) / attempts;
  return [
    id,
    String(lines.length),
    String(sum((line) => line.hits)),
    String(attempts),
    String(sum((line) => line.lost)),
    String(sum((line) => line.doubled)),
    String(imbalance),
    `${share.toFixed(1)} %`,
    `${quantile(recoveries, 0.5)} / ${quantile(recoveries, 0.99)}`,
    String(sum((line) => line.http_5xx)),
    String(lines.filter(({ verdict }) => verdict === 'broken').length),
  ];
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
}

function byFaultId(one: string, other: string): number {
  const key = (id: string): string => id.slice(0, 1) + id.slice(1).padStart(3, '0');
  return key(one).localeCompare(key(other));
}
