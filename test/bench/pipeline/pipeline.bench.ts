import { measureOutage, measureVisibility } from './cluster.bench.js';
import { measureConsumer } from './consumer.bench.js';
import { measureInserts } from './insert-cost.bench.js';
import {
  holds,
  type PartOptions,
  type PartResult,
  type PipelineFigure,
  type PipelinePart,
} from './part.js';
import { measureQueries } from './rollup-query.bench.js';

/** How the pipeline is measured. */
export interface PipelineOptions extends PartOptions {
  readonly only: readonly PipelinePart[];
  /** Length of the broker's outage, seconds. */
  readonly outageSeconds: number;
  /** Requests per second during G14. */
  readonly rate: number;
}

/** Measures the parts one after the other; each starts engines of its own. */
export async function measurePipeline(options: PipelineOptions): Promise<PartResult> {
  const { only, say } = options;
  const has = (part: PipelinePart): boolean => only.includes(part);
  const steps: readonly (readonly [string, boolean, () => Promise<PartResult>])[] = [
    [
      'consumer',
      has('G8') || has('G16'),
      () => measureConsumer(options, { hasG8: has('G8'), hasG16: has('G16') }),
    ],
    ['inserts', has('G9'), () => measureInserts(options)],
    ['queries', has('G10'), () => measureQueries(options)],
    ['outage', has('G14'), () => measureOutage(options, options)],
    ['visibility', has('G17'), () => measureVisibility(options)],
  ];
  const figures: PipelineFigure[] = [];
  const runs: Record<string, unknown> = {};
  for (const [name, isWanted, measure] of steps) {
    if (!isWanted) continue;
    say(name);
    const result = await measure();
    figures.push(...result.figures);
    runs[name] = result.runs;
  }
  return { figures, runs };
}

/** The table of a run. */
export function printedFigures(figures: readonly PipelineFigure[]): string {
  const lines = figures.map((figure) => {
    const { id, text, value, floor } = figure;
    const { median, low, high } = value;
    const told =
      low === high ? digits(median) : `${digits(median)} [${digits(low)}, ${digits(high)}]`;
    const start = `${id.padEnd(5)}${text.padEnd(62)}${told.padEnd(26)}`;
    if (floor === null) return start.trimEnd();
    return `${start}${floor.isUpper ? '<=' : '>='} ${floor.limit}  ${holds(figure) ? 'pass' : 'MISS'}`;
  });
  return `${lines.join('\n')}\n`;
}

function digits(value: number): string {
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3);
}
