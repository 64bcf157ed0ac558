import { parseArgs } from 'node:util';

/** What a run is asked for. */
export interface ChaosOptions {
  /** 0 = one pass over the cases. */
  readonly cycles: number;
  /** Fault ids; empty = all. */
  readonly faults: readonly string[];
  readonly seed: number;
  /** File of lines to go on with and to append to; null = none. */
  readonly file: string | null;
  /** Whether lines go to standard output as JSON. */
  readonly isJson: boolean;
  /** Cycles on one boot of the product. */
  readonly perBoot: number;
  /** Whether slow cases are left out; one pass over the others when no count is given. */
  readonly isSmoke: boolean;
  /** Further hits of each fault of the sink alone, by the worker without services. */
  readonly sinkHits: number;
}

/** A fault of the command line, for people. */
export class ChaosUsageError extends Error {}

/** How to call the command. */
export const CHAOS_USAGE = `Usage: npm run chaos -- [--cycles N] [--fault ID]... [--seed S] [--resume FILE] [--json]

  --cycles N      cycles to run now (default: each case once)
  --smoke         leave slow cases out
  --sink-hits N   then N hits each of D4 and D11 by the sink's worker, a line each
  --fault ID      only this fault of the table, repeatable (default: all in turn)
  --seed S        the same seed and cycle number give the same injection (default 1)
  --from N        number of the first cycle (default 1); to run one cycle again as it was
  --resume FILE   append the lines to FILE and go on after its last cycle
  --per-boot N    cycles on one boot of the product (default 80)
  --json          lines as JSON on standard output`;

/** @throws ChaosUsageError that names the faulty option */
export function readOptions(args: readonly string[]): ChaosOptions & { readonly from: number } {
  let values: Record<string, string | boolean | (string | boolean)[] | undefined>;
  try {
    ({ values } = parseArgs({
      args: [...args],
      options: {
        cycles: { type: 'string' },
        smoke: { type: 'boolean', default: false },
        'sink-hits': { type: 'string' },
        fault: { type: 'string', multiple: true, default: [] },
        seed: { type: 'string', default: '1' },
        from: { type: 'string', default: '1' },
        resume: { type: 'string' },
        'per-boot': { type: 'string', default: '80' },
        json: { type: 'boolean', default: false },
      },
    }));
  } catch (error) {
    throw new ChaosUsageError(String(error));
  }
  const faults = (values['fault'] as string[]).flatMap((ids) => ids.split(','));
  return {
    cycles: values['cycles'] === undefined ? 0 : count('cycles', values['cycles']),
    isSmoke: values['smoke'] === true,
    sinkHits: values['sink-hits'] === undefined ? 0 : count('sink-hits', values['sink-hits']),
    faults,
    seed: count('seed', values['seed']),
    from: count('from', values['from']),
    file: (values['resume'] as string | undefined) ?? null,
    isJson: values['json'] === true,
    perBoot: count('per-boot', values['per-boot']),
  };
}

function count(name: string, value: unknown): number {
  if (typeof value === 'string' && /^[1-9]\d{0,8}$/.test(value)) return Number(value);
  throw new ChaosUsageError(`--${name} must be a whole number from 1`);
}
