/**
 * Kills and cuts the sink many times over: `npm run sink-faults -- --fault D4 --hits 200`. Prints one
 * JSON line per hit with `--json`, and the summary; ends with 1 when a hit left anything wrong.
 */
import { parseArgs } from 'node:util';

import { messageOf, SystemRandom } from '#libs/kernel';

import { generatorOf } from '../bench/statistics.js';
import { FAULTS, FaultRun, type FaultId, type HitReport } from './fault-run.js';

const HELP = `Usage: npm run sink-faults -- --fault ID [options]

  --fault ID     ${FAULTS.join(', ')}
                 D1 killed before the plan         D2 killed between plan and insert
                 D3 connection cut in the insert   D4 killed between insert and commit
                 D11 ClickHouse killed in insert   D14 killed, token forgotten by ClickHouse
  --hits N       hits to reach (200)
  --store KIND   server, or embedded in the worker (server)
  --log KIND     postgres or kafka (postgres)
  --rows N       records of each batch (D3, D11: 2000, else 200)
  --window       D11: each time between the token's record and the part's rename
  --seed N       draws kill times, cut places and partitions (random, printed)
  --json         one line of JSON per hit, then the summary
`;

const write = (line: string): void => void process.stdout.write(`${line}\n`);
const toJson = (value: unknown): string =>
  JSON.stringify(value, (_, member: unknown) =>
    typeof member === 'bigint' ? member.toString() : member,
  );

function oneOf<T extends string>(value: string, all: readonly T[], name: string): T {
  const found = all.find((one) => one === value);
  if (found === undefined) throw new Error(`--${name} is one of ${all.join(', ')}`);
  return found;
}

function count(value: string, name: string): number {
  const number = Number(value);
  if (Number.isSafeInteger(number) && number >= 0) return number;
  throw new Error(`--${name} must be a whole number`);
}

async function main(): Promise<void> {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean' } as const;
  const { values } = parseArgs({
    options: {
      fault: text,
      hits: text,
      store: text,
      log: text,
      rows: text,
      seed: text,
      window: flag,
      json: flag,
      help: flag,
    },
  });
  if (values.help === true || values.fault === undefined) return write(HELP);
  const fault: FaultId = oneOf(values.fault, FAULTS, 'fault');
  const needsBody = fault === 'D3' || fault === 'D11';
  const seed = count(
    values.seed ?? String(new DataView(new SystemRandom().bytes(4).buffer).getUint32(0)),
    'seed',
  );
  const isJson = values.json === true;
  const say = (report: HitReport): void => {
    if (isJson) write(toJson(report));
    else if (report.hit % 10 === 0) process.stderr.write(`  ${report.hit} hits\n`);
  };
  const startedMs = performance.now();
  const summary = await FaultRun.run(
    {
      fault,
      hits: count(values.hits ?? '200', 'hits'),
      store: oneOf(values.store ?? 'server', ['server', 'embedded'], 'store'),
      log: oneOf(values.log ?? 'postgres', ['postgres', 'kafka'], 'log'),
      inCrashWindow: values.window === true,
      rows: count(values.rows ?? (needsBody ? '2000' : '200'), 'rows'),
      random: generatorOf(seed),
    },
    say,
  );
  const seconds = Math.round((performance.now() - startedMs) / 1_000);
  write(toJson({ summary: true, ...summary, seed, seconds }));
  process.exitCode = summary.faultyHits === 0 ? 0 : 1;
}

try {
  await main();
} catch (error) {
  process.stderr.write(`sink-faults: ${messageOf(error)}\n`);
  process.exitCode = 1;
}
