/**
 * The faults of `test/chaos`, one cycle each in turn, on one boot of the whole product: whatever was
 * put in, nothing is lost, nothing doubled, and no budget is off by a pico-dollar.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { beforeAll, describe, expect, test } from '@jest/globals';

const RUN = join(import.meta.dirname, '..', 'chaos', 'run.js');
/** Fewer would leave faults out. */
const LEAST_CYCLES = 40;
/** Thrice what a busy machine takes. */
const DEADLINE_MS = 1_800_000;

/** The members of a line that the suite looks at. */
interface Line {
  readonly fault: string;
  readonly variant: string;
  readonly verdict: string;
  readonly attempts: number;
  readonly lost: number;
  readonly doubled: number;
  readonly imbalance_pusd: string;
  readonly notes: readonly string[];
}

const run = promisify(execFile);
let lines: readonly Line[] = [];

async function runCycles(): Promise<readonly Line[]> {
  const args = [RUN, '--smoke', '--json'];
  // At the deadline it is asked to end, and takes the product and the engines with it.
  const options = { maxBuffer: 64 * 1024 * 1024, timeout: DEADLINE_MS };
  // A broken cycle ends the command with 1; its lines say more than its exit code.
  const { stdout, stderr } = await run(process.execPath, args, options).catch(
    (error: unknown) => error as { stdout: string; stderr: string },
  );
  const texts = stdout.split('\n').filter((text) => text !== '');
  if (texts.length < LEAST_CYCLES) throw new Error(`it broke off: ${stderr.slice(-4_000)}`);
  return texts.map((text) => JSON.parse(text) as Line);
}

describe('faults in turn on one boot of the product', () => {
  beforeAll(async () => {
    lines = await runCycles();
  }, DEADLINE_MS + 120_000);

  test('every cycle is judged, and in none is anything lost, doubled or out of balance', () => {
    expect(lines.length).toBeGreaterThanOrEqual(LEAST_CYCLES);
    const bad = lines.filter(
      (line) =>
        line.verdict === 'broken' || line.lost + line.doubled > 0 || line.imbalance_pusd !== '0',
    );
    expect(bad).toEqual([]);
  });

  test('every fault was really put in, under load', () => {
    const missed = lines.filter(({ verdict }) => verdict === 'not_hit');
    expect(missed.map(({ fault, variant }) => `${fault} ${variant}`)).toEqual([]);
    expect(lines.reduce((sum, { attempts }) => sum + attempts, 0)).toBeGreaterThan(
      lines.length * 5,
    );
  });
});
