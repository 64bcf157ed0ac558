import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

import { messageOf, SystemRandom } from '#libs/kernel';

import { HELP, readOptions, UsageError, type BenchOptions } from './bench-options.js';
import { machineFacts } from './machine.js';
import { missingTools } from './needed-tools.js';

/** The result of a bench: what is kept, and what is shown of it. */
interface Outcome {
  readonly startedAt: string;
  readonly raw: object;
  readonly text: string;
}

const write = (text: string): void => void process.stdout.write(text);
/** Progress goes where it does not mix with `--json`. */
const say = (line: string): void => void process.stderr.write(`  ${line}\n`);

async function benchProxy(options: BenchOptions): Promise<Outcome> {
  const missing = missingTools();
  if (missing !== null) throw new Error(missing);
  const { measureProxy } = await import('./proxy.bench.js');
  const { printed, summarize } = await import('./proxy-report.js');
  const { generatorOf } = await import('./statistics.js');
  const seed = options.seed ?? new DataView(new SystemRandom().bytes(4).buffer).getUint32(0);
  const machine = machineFacts();
  say(`seed ${seed}, load average ${machine.loadBefore}`);
  const measurements = await measureProxy(options, seed, say);
  const summary = summarize(measurements, generatorOf(seed));
  const raw = { bench: 'proxy', machine, options: { ...options, seed }, summary, measurements };
  return {
    startedAt: machine.startedAt,
    raw,
    text: `\nseed ${seed}\n${printed(measurements, summary)}`,
  };
}

async function benchFreshness({ calls }: BenchOptions): Promise<Outcome> {
  const { measureFreshness } = await import('./freshness.bench.js');
  say(`${calls} calls, one after the other`);
  const machine = machineFacts();
  const result = await measureFreshness(calls);
  const { p50Ms, p99Ms, mostMs, floorMs, holdsFloor } = result;
  const verdict = `<= ${floorMs}  ${holdsFloor ? 'pass' : 'MISS'}`;
  const text = `G17 answer to usage query, ms: p50 ${p50Ms}, p99 ${p99Ms}, most ${mostMs}  ${verdict}\n`;
  return { startedAt: machine.startedAt, raw: { bench: 'freshness', machine, result }, text };
}

async function benchPipeline(options: BenchOptions): Promise<Outcome> {
  const { measurePipeline, printedFigures } = await import('./pipeline/pipeline.bench.js');
  const { generatorOf } = await import('./statistics.js');
  const seed = options.seed ?? new DataView(new SystemRandom().bytes(4).buffer).getUint32(0);
  const machine = machineFacts();
  say(`seed ${seed}, load average ${machine.loadBefore}`);
  const result = await measurePipeline({ ...options, random: generatorOf(seed), say });
  const raw = { bench: 'pipeline', machine, options: { ...options, seed }, ...result };
  return {
    startedAt: machine.startedAt,
    raw,
    text: `\nseed ${seed}; median [95 % interval]\n${printedFigures(result.figures)}`,
  };
}

async function benchScaling(options: BenchOptions): Promise<Outcome> {
  const { rounds, records, stormSeconds: seconds, seed: given } = options;
  const { measureScaling, rideStorm } = await import('./pipeline/scaling.bench.js');
  const { generatorOf } = await import('./statistics.js');
  const seed = given ?? new DataView(new SystemRandom().bytes(4).buffer).getUint32(0);
  const machine = machineFacts();
  say(`seed ${seed}, load average ${machine.loadBefore}`);
  const random = generatorOf(seed);
  const result = await measureScaling(rounds, records, random, say);
  say(`members come and go for ${seconds} s`);
  const storm = await rideStorm({ seconds, everyMs: 2_000, rate: 1_200, random });
  const lines = result.ratios.map(
    ({ processes, rowsPerCpuSecond, ratio, floor, holds }) =>
      `${processes} metering processes: ${Math.round(rowsPerCpuSecond.median)} rows per CPU-second, ` +
      `${ratio.median.toFixed(2)} of one  >= ${floor}  ${holds ? 'pass' : 'MISS'}`,
  );
  const { faults, changes, records: judged, longestStandstillMs } = storm;
  lines.push(
    `storm of ${seconds} s: ${changes} members came or went, ${judged} records, ` +
      `${storm.rowsPerSecond} rows/s, lost ${faults.lost}, doubled ${faults.doubled}, ` +
      `longest standstill ${longestStandstillMs} ms  ${storm.isWhole ? 'pass' : 'MISS'}`,
  );
  // Sums of pico-dollars are whole numbers beyond what JSON carries.
  const found = Object.fromEntries(
    Object.entries(faults).map(([fault, count]) => [fault, String(count)]),
  );
  const raw = { bench: 'scaling', machine, seed, ...result, storm: { ...storm, faults: found } };
  return { startedAt: machine.startedAt, raw, text: `\nseed ${seed}\n${lines.join('\n')}\n` };
}

async function benchKafka(options: BenchOptions): Promise<Outcome> {
  const { measureKafka, printKafka } = await import('./kafka/kafka.bench.js');
  const seed = options.seed ?? new DataView(new SystemRandom().bytes(4).buffer).getUint32(0);
  const machine = machineFacts();
  say(`seed ${seed}, load average ${machine.loadBefore}`);
  const result = await measureKafka(options, seed, say);
  const { rounds, events } = options;
  const raw = { bench: 'kafka', machine, options: { rounds, events, seed }, result };
  return {
    startedAt: machine.startedAt,
    raw,
    text: `\nseed ${seed}; median (95 % interval)\n${printKafka(result)}`,
  };
}

function keep(name: string, options: BenchOptions, { raw, startedAt }: Outcome): string {
  const fileName = `${name}-${startedAt.replaceAll(/[:.]/g, '-')}.json`;
  const path = resolve(options.outFile ?? join('bench-results', fileName));
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${JSON.stringify(raw, null, 1)}\n`);
  return path;
}

async function main(name: string | undefined, args: string[]): Promise<void> {
  if (name === 'ungoverned-proxy') {
    const { serveUngoverned } = await import('./ungoverned-proxy.js');
    return serveUngoverned(args[0] ?? '');
  }
  if (name === undefined || [name, ...args].some((arg) => arg === '--help' || arg === '-h')) {
    return write(HELP);
  }
  const benches = {
    proxy: benchProxy,
    freshness: benchFreshness,
    pipeline: benchPipeline,
    scaling: benchScaling,
    kafka: benchKafka,
  };
  const bench = name in benches ? benches[name as keyof typeof benches] : undefined;
  if (bench === undefined) throw new UsageError(`there is no bench "${name}"`);
  const options = readOptions(args);
  const outcome = await bench(options);
  write(options.isJson ? `${JSON.stringify(outcome.raw)}\n` : outcome.text);
  say(`raw result: ${keep(name, options, outcome)}`);
}

try {
  await main(process.argv[2], process.argv.slice(3));
} catch (error) {
  const hint = error instanceof UsageError ? '; --help shows what is understood' : '';
  process.stderr.write(`bench: ${messageOf(error)}${hint}\n`);
  process.exitCode = 1;
}
