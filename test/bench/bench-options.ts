import { resolve } from 'node:path';
import { parseArgs } from 'node:util';

import { PIPELINE_PARTS, type PipelinePart } from './pipeline/part.js';
import { SUBJECTS, type SubjectName } from './subject.js';
import { TRAFFIC, type TrafficName } from './traffic.js';

/** What the caller asked for. */
export interface BenchOptions {
  readonly rounds: number;
  readonly seconds: number;
  readonly warmUpSeconds: number;
  readonly connections: number;
  readonly streams: number;
  readonly calls: number;
  readonly events: number;
  readonly seed: number | null;
  readonly subjects: readonly SubjectName[];
  readonly traffic: readonly TrafficName[];
  /** Where the proxy leaves its CPU profiles; null = it makes none. */
  readonly profileDir: string | null;
  /** The figures of the pipeline that are measured. */
  readonly only: readonly PipelinePart[];
  /** Records of the backlog that metering takes in. */
  readonly records: number;
  /** Length of the broker's outage, seconds. */
  readonly outageSeconds: number;
  /** Requests per second through the outage. */
  readonly rate: number;
  /** How long members of metering come and go, seconds. */
  readonly stormSeconds: number;
  readonly isJson: boolean;
  /** Null = a new file below `bench-results`. */
  readonly outFile: string | null;
}

/** What `--help` prints. */
export const HELP = `Usage: npm run bench -- <what> [options]

  proxy       CPU time per request of the proxy beside nginx, ungoverned and direct: G1, G3, G4
  freshness   from the end of an answer to its cost in a usage query: G17
  kafka       CPU time per event of the two Kafka clients, and what lost replies do to each
  pipeline    from Kafka into the ledger, its rollups and through an outage: G8, G9, G10, G14, G16, G17
  scaling     rows per CPU second of 1, 2 and 4 metering processes on Kafka, and a storm of members

Options of proxy
  --rounds N        measured rounds, each with every subject in random order (7)
  --seconds N       length of one measurement (5)
  --warm-up N       seconds of load of each kind on each proxy before the first round (8)
  --connections N   connections of the plain load (128)
  --streams N       streams at once (100)
  --subjects A,B    of ${SUBJECTS.join(', ')} (all)
  --traffic A,B     of ${TRAFFIC.join(', ')} (all)
  --profile DIR     the governed proxy leaves its CPU profiles there; it is slower then
  --seed N          order of the rounds; printed by every run (random)

Options of kafka
  --rounds N        measured rounds, each with every client in random order (7)
  --events N        events of one run (50000)

Options of pipeline
  --only G8,G9      of ${PIPELINE_PARTS.join(', ')} (all)
  --rounds N        measured rounds of G8, G9 and G10, each with every subject in random order (7)
  --records N       records of the backlog (300000)
  --outage N        seconds that the broker is away (60)
  --rate N          requests per second through the outage (100)
  --profile DIR     metering leaves its CPU profiles there; it is slower then
  --seed N          order of the rounds; printed by every run (random)

Options of scaling
  --records N       records of the backlog (300000)
  --storm N         seconds in which members come and go every 2 s (120)
  --rounds N        measured rounds, each with every number of processes (7)
  --seed N          order of the runs; printed by every run (random)

Options of freshness
  --calls N         calls made one after the other (200)

Options of all
  --json            print the raw result instead of tables
  --out FILE        where the raw result goes (bench-results/<what>-<time>.json)

Examples
  npm run bench -- proxy
  npm run bench -- proxy --rounds 9 --seconds 5 --out before.json
`;

/** Options that take a value. */
const VALUED = [
  'rounds',
  'seconds',
  'warm-up',
  'connections',
  'streams',
  'calls',
  'events',
  'seed',
  'subjects',
  'traffic',
  'only',
  'records',
  'outage',
  'rate',
  'storm',
  'profile',
  'out',
];

/** A command line that cannot be followed; the message says why. */
export class UsageError extends Error {}

/**
 * Reads the arguments behind the name of a bench.
 * @throws UsageError for an unknown option or a number out of range
 */
export function readOptions(args: string[]): BenchOptions {
  const text = { type: 'string' } as const;
  const options = Object.fromEntries(VALUED.map((name) => [name, text]));
  let values: Record<string, unknown>;
  try {
    values = parseArgs({ args, options: { ...options, json: { type: 'boolean' } } }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
  const number = (name: string, fallback: number, least: number, most: number): number => {
    const value = values[name] === undefined ? fallback : Number(values[name]);
    if (Number.isInteger(value) && value >= least && value <= most) return value;
    throw new UsageError(`--${name} must be an integer from ${least} to ${most}`);
  };
  const choice = <T extends string>(name: string, all: readonly T[]): readonly T[] => {
    const value = values[name];
    if (typeof value !== 'string') return all;
    const unknown = value.split(',').filter((one) => !all.some((known) => known === one));
    if (unknown.length === 0) return all.filter((known) => value.split(',').includes(known));
    throw new UsageError(`--${name} knows ${all.join(', ')}, not ${unknown.join(', ')}`);
  };
  const profile = values['profile'];
  return {
    rounds: number('rounds', 7, 1, 1_000),
    seconds: number('seconds', 5, 1, 600),
    warmUpSeconds: number('warm-up', 8, 0, 600),
    connections: number('connections', 128, 1, 1_000),
    streams: number('streams', 100, 1, 1_000),
    calls: number('calls', 200, 1, 100_000),
    events: number('events', 50_000, 5_000, 1_000_000),
    seed: values['seed'] === undefined ? null : number('seed', 0, 0, 2 ** 32 - 1),
    subjects: choice('subjects', SUBJECTS),
    traffic: choice('traffic', TRAFFIC),
    profileDir: typeof profile === 'string' ? resolve(profile) : null,
    only: choice('only', PIPELINE_PARTS),
    records: number('records', 300_000, 1_200, 10_000_000),
    outageSeconds: number('outage', 60, 5, 3_600),
    rate: number('rate', 100, 1, 1_000),
    stormSeconds: number('storm', 120, 10, 3_600),
    isJson: values['json'] === true,
    outFile: typeof values['out'] === 'string' ? values['out'] : null,
  };
}
