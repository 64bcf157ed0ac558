/** `npm run chaos`: puts faults into the running product and has an independent judge look at it. */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';

import type { ChaosLine } from './harness/chaos-line.js';
import { CHAOS_USAGE, ChaosUsageError, readOptions } from './harness/chaos-options.js';
import { failpointsOf, summaryOf } from './harness/chaos-report.js';
import { countCases, runChaos } from './harness/chaos-run.js';
import { runSinkHits, SINK_FAULTS } from './harness/sink-hits.js';

try {
  const options = readOptions(process.argv.slice(2));
  const earlier = options.file === null ? [] : readLines(options.file);
  const from = (earlier.at(-1)?.cycle ?? options.from - 1) + 1;
  const onLine = (line: ChaosLine): void => {
    const text = JSON.stringify(line);
    if (options.file !== null) appendFileSync(options.file, `${text}\n`);
    process.stdout.write(`${options.isJson ? text : shortOf(line, options.faults)}\n`);
  };
  const cycles = options.cycles || countCases(options.faults, options.isSmoke);
  const lines = await runChaos({
    ...options,
    cycles,
    from,
    onLine,
    onKept: (directory) => process.stderr.write(`logs and data are kept in ${directory}\n`),
  });
  const sinkLines: ChaosLine[] = [];
  for (const fault of options.sinkHits > 0 ? SINK_FAULTS : []) {
    const next = from + lines.length + sinkLines.length;
    sinkLines.push(...(await runSinkHits(fault, options.sinkHits, options.seed, next, onLine)));
  }
  const now = [...lines, ...sinkLines];
  const all = [...earlier, ...now];
  process.stderr.write(`\n${summaryOf(all)}\n\nfailpoint hits:\n`);
  for (const [name, hits] of failpointsOf(all)) process.stderr.write(`  ${name} ${hits}\n`);
  process.exitCode = now.some(({ verdict }) => verdict === 'broken') ? 1 : 0;
} catch (error) {
  if (!(error instanceof ChaosUsageError)) throw error;
  process.stderr.write(`chaos: ${error.message}\n\n${CHAOS_USAGE}\n`);
  process.exitCode = 2;
}

function readLines(file: string): readonly ChaosLine[] {
  if (!existsSync(file)) return [];
  const texts = readFileSync(file, 'utf8').split('\n');
  return texts.filter((text) => text !== '').map((text) => JSON.parse(text) as ChaosLine);
}

function shortOf(line: ChaosLine, faults: readonly string[]): string {
  const figures = `${line.attempts} attempts, lost ${line.lost}, doubled ${line.doubled}, off by ${line.imbalance_pusd} pUSD`;
  const back = line.recovery_ms === null ? 'never at rest' : `at rest after ${line.recovery_ms} ms`;
  const only = faults.map((id) => ` --fault ${id}`).join('');
  const again =
    line.verdict === 'broken'
      ? `\n    again: npm run chaos -- --seed ${line.seed} --from ${line.cycle} --cycles 1${only}`
      : '';
  const notes = line.notes.map((note) => `\n    ${note}`).join('');
  return `${line.cycle} ${line.fault} ${line.variant}: ${line.verdict}, ${figures}, ${back}, ${line.took_ms} ms${notes}${again}`;
}
