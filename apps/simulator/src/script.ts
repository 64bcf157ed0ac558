/**
 * Ways in which an upstream misbehaves. All of them bill the full usage, because a provider does the
 * work before it fails to say so; only an error status bills nothing.
 *
 * - `hang`: no answer ever; `hang_mid_stream`: no further byte after `cut_after_chunks`
 * - `cut_before_headers`, `cut_mid_stream`: the connection is reset; a plain answer is cut in half
 * - `error_mid_stream`: an error object instead of the rest of the stream
 * - `omit_usage`, `usage_string`, `usage_negative`, `usage_absurd` (2^63), `usage_twice`
 * - `malformed`: bytes that are no JSON
 */
export const FAULTS = [
  'hang',
  'hang_mid_stream',
  'cut_before_headers',
  'cut_mid_stream',
  'error_mid_stream',
  'omit_usage',
  'usage_string',
  'usage_negative',
  'usage_absurd',
  'usage_twice',
  'malformed',
] as const;

/** One of `FAULTS`. */
export type Fault = (typeof FAULTS)[number];

/** What a request asks of the simulator: its model name, overridden by its member `simulator`. */
export interface Script {
  /** Time from receipt to the first byte, milliseconds, 0..600,000. */
  readonly latencyMs: number;
  /** Time from one chunk of a stream to the next, milliseconds, 0..60,000; 0 = all at once. */
  readonly chunkIntervalMs: number;
  /** Chunks with text in a stream, 1..10,000; null = one per token, at most 16. */
  readonly chunks: number | null;
  /** HTTP status, 200..599. */
  readonly status: number;
  /** Message of an error status. */
  readonly error: string | null;
  readonly fault: Fault | null;
  /** Chunks with text before a fault in mid-stream, >= 0. */
  readonly cutAfterChunks: number;
  /** Tokens dictated, >= 0; null = counted or drawn from the request. */
  readonly inputTokens: number | null;
  readonly outputTokens: number | null;
  /** Tokens of the input reported as read from a cache; never more than the input. */
  readonly cachedTokens: number;
  /** Whether each chunk carries `sent_at_us`, wall time in microseconds. */
  readonly isStamped: boolean;
}

/** A script that the simulator cannot follow; its text names the member. */
export class ScriptError extends Error {}

const DEFAULT_SCRIPT: Script = {
  latencyMs: 0,
  chunkIntervalMs: 20,
  chunks: null,
  status: 200,
  error: null,
  fault: null,
  cutAfterChunks: 1,
  inputTokens: null,
  outputTokens: null,
  cachedTokens: 0,
  isStamped: false,
};

/** `fake-in<N>-out<M>` and its suffixes, each a word with or without a number. */
const FAKE_MODEL = /^fake-in(\d{1,9})-out(\d{1,9})((?:-[a-z_]+\d{0,9})*)$/;

/** Suffixes with a number, and the member of the request that means the same. */
const NUMBER_SUFFIXES: Readonly<Record<string, string>> = {
  status: 'status',
  latency: 'latency_ms',
  interval: 'chunk_interval_ms',
  chunks: 'chunks',
  cached: 'cached_tokens',
  after: 'cut_after_chunks',
};

/** Smallest and largest value of each numeric member. */
const RANGES: Readonly<Record<string, readonly [number, number]>> = {
  latency_ms: [0, 600_000],
  chunk_interval_ms: [0, 60_000],
  chunks: [1, 10_000],
  status: [200, 599],
  cut_after_chunks: [0, 10_000],
  input_tokens: [0, 999_999_999],
  output_tokens: [0, 999_999_999],
  cached_tokens: [0, 999_999_999],
};

/**
 * The script that a model name dictates: `fake-in10-out20` reports 10 and 20 tokens at once;
 * suffixes `-status500 -latency200 -interval10 -chunks5 -cached4 -after2 -stamp -<fault>` add to it.
 * Other names mean an ordinary model that writes a chunk every 20 ms.
 * @throws ScriptError for a `fake-in…-out…` name with an unknown suffix or a number out of range
 */
export function scriptOfModel(model: string): Script {
  const match = FAKE_MODEL.exec(model);
  if (match === null) return DEFAULT_SCRIPT;
  const members: Record<string, unknown> = {
    chunk_interval_ms: 0,
    input_tokens: Number(match[1]),
    output_tokens: Number(match[2]),
  };
  for (const suffix of (match[3] ?? '').split('-').filter((word) => word !== '')) {
    const [, word = '', digits = ''] = /^([a-z_]+)(\d*)$/.exec(suffix) ?? [];
    const member = NUMBER_SUFFIXES[word];
    if (member !== undefined && digits !== '') members[member] = Number(digits);
    else if (word === 'stamp' && digits === '') members['stamp'] = true;
    else if (digits === '') members['fault'] = word;
    else throw new ScriptError(`the model name has an unknown suffix "${suffix}"`);
  }
  return applyMembers(DEFAULT_SCRIPT, members);
}

/**
 * A script with the members of a request's `simulator` object put over it.
 * @throws ScriptError naming an unknown member or a value out of range
 */
export function applyMembers(script: Script, members: unknown): Script {
  if (members === undefined) return script;
  if (typeof members !== 'object' || members === null || Array.isArray(members)) {
    throw new ScriptError('simulator must be an object');
  }
  const changed: { -readonly [K in keyof Script]: Script[K] } = { ...script };
  for (const [name, value] of Object.entries(members)) applyMember(changed, name, value);
  return changed;
}

function applyMember(
  script: { -readonly [K in keyof Script]: Script[K] },
  name: string,
  value: unknown,
): void {
  switch (name) {
    case 'latency_ms':
      script.latencyMs = count(name, value);
      return;
    case 'chunk_interval_ms':
      script.chunkIntervalMs = count(name, value);
      return;
    case 'chunks':
      script.chunks = count(name, value);
      return;
    case 'status':
      script.status = count(name, value);
      return;
    case 'cut_after_chunks':
      script.cutAfterChunks = count(name, value);
      return;
    case 'input_tokens':
      script.inputTokens = count(name, value);
      return;
    case 'output_tokens':
      script.outputTokens = count(name, value);
      return;
    case 'cached_tokens':
      script.cachedTokens = count(name, value);
      return;
    case 'error':
      script.error = String(value);
      return;
    case 'stamp':
      script.isStamped = value === true;
      return;
    case 'fault':
      script.fault = faultOf(value);
      return;
    default:
      throw new ScriptError(`simulator.${name} is not a known member`);
  }
}

function count(name: string, value: unknown): number {
  const [least, most] = RANGES[name] ?? [0, 0];
  if (Number.isInteger(value) && Number(value) >= least && Number(value) <= most) {
    return Number(value);
  }
  throw new ScriptError(`simulator.${name} must be an integer from ${least} to ${most}`);
}

function faultOf(value: unknown): Fault {
  const fault = FAULTS.find((known) => known === value);
  if (fault !== undefined) return fault;
  throw new ScriptError(`simulator.fault must be one of ${FAULTS.join(', ')}`);
}
