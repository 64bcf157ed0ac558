import { HOUR_MS, type UsageFilter, type UsageQuestion } from '#libs/usage/core';

import { DECISIONS, mergedBatches, runsInForce } from './rollup-merge.query.js';
import { SEAL_HOURS, sealBounds, toSecond, type BoundQuery, type Sources } from './sealed.query.js';

/** What all sources of figures give; times are to the second, which no bucket is finer than. */
export const SHARED_COLUMNS =
  'team_id, key_id, user_id, provider, model, tokens_in, tokens_out, cost_usd, charge_usd';

const DAY_MS = 24 * HOUR_MS;

/** Most runs in force that are named in the question for sums; more are told by their version. */
const MOST_NAMED_RUNS = 1_000;

/** Which merge runs an answer sees, and which batches they leave to be read one by one. */
export interface MergeState {
  /** 0 = nothing was ever merged. */
  readonly version: number;
  /** The runs in force at the version; null = too many to name. */
  readonly runs: readonly string[] | null;
  /** First hour of a batch that is not merged, milliseconds UTC; null = there is none. */
  readonly waitingFromMs: number | null;
}

/** What an answer sees when nothing is merged. */
export const NOTHING_MERGED: MergeState = { version: 0, runs: [], waitingFromMs: 0 };

/** `[startMs, endMs)`, milliseconds UTC; empty when they are the same. */
interface Interval {
  readonly startMs: number;
  readonly endMs: number;
}

/** The whole hours of a question. */
export function wholeHoursOf(filter: UsageFilter): Interval {
  return wholeOf(filter, HOUR_MS);
}

/** The part of an interval that consists of whole units. */
function wholeOf({ startMs, endMs }: Interval, unitMs: number): Interval {
  const wholeStartMs = Math.min(endMs, Math.ceil(startMs / unitMs) * unitMs);
  return {
    startMs: wholeStartMs,
    endMs: Math.max(wholeStartMs, Math.floor(endMs / unitMs) * unitMs),
  };
}

/** Whether a question covers a whole hour, so that its answer needs a `MergeState`. */
export function hasWholeHours(filter: UsageFilter): boolean {
  const { startMs, endMs } = wholeHoursOf(filter);
  return startMs < endMs;
}

/**
 * The merge runs in force, and the first hour that they leave for batches which are sealed by now. It
 * is asked before the sums, which then see these runs and no others.
 */
export function mergeStateQuery(filter: UsageFilter): BoundQuery {
  return {
    name: 'usage.merge_state',
    sql: [
      `WITH (${DECISIONS}) AS decisions,`,
      '  arrayFilter(one -> NOT has(decisions.3, one), decisions.2) AS in_force',
      'SELECT toString(decisions.1) AS version, length(in_force) AS run_count,',
      `  if(run_count > ${MOST_NAMED_RUNS}, [], in_force) AS runs,`,
      '  toUnixTimestamp(min(first_hour)) AS waiting_from_s, count() AS waiting',
      `FROM batch_seal WHERE topic = 'request.completed' AND ${SEAL_HOURS}`,
      `  AND batch_id NOT IN (${mergedBatches('in_force', SEAL_HOURS)})`,
    ].join('\n'),
    params: sealBounds(filter),
  };
}

/** One row of `mergeStateQuery`. */
export interface MergeStateRecord {
  readonly version: string;
  readonly run_count: string;
  readonly runs: readonly string[];
  readonly waiting_from_s: number;
  readonly waiting: string;
}

/** What the row says. */
export function toMergeState(record: MergeStateRecord): MergeState {
  return {
    version: Number(record.version),
    runs: Number(record.run_count) === record.runs.length ? record.runs : null,
    waitingFromMs: Number(record.waiting) === 0 ? null : record.waiting_from_s * 1000,
  };
}

/**
 * The figures of whole hours: merged sums, and the cells of batches that are not merged. A batch that
 * was sealed after the state was read, and began before its first waiting hour, is left to the next
 * answer as a whole.
 * @param conditions what else holds for a row of any source
 */
export function wholeHours(
  question: UsageQuestion,
  conditions: readonly string[],
  state: MergeState,
): Sources {
  const whole = wholeHoursOf(question);
  if (whole.startMs >= whole.endMs) return { texts: [], params: {} };
  const parts = [merged(question, whole, conditions, state), waiting(whole, conditions, state)];
  const texts = parts.flatMap((part) => part.texts);
  if (texts.length === 0)
    texts.push(`  SELECT ${columnsAt('hour')} FROM rollup_merged WHERE false`);
  return { texts, params: Object.assign({}, ...parts.map((part) => part.params)) };
}

function columnsAt(time: string): string {
  return `${time} AS at, ${SHARED_COLUMNS}, attempts, estimated_attempts`;
}

/** Which sums per day tell what a question asks; null = those of hours must be read. */
function grainOf(question: UsageQuestion): 'model' | 'key' | null {
  const { keyIds, userIds, models, providers, groupBy, bucket } = question;
  const isOfKey =
    keyIds.length + userIds.length > 0 || groupBy.some((one) => one === 'key' || one === 'user');
  const isOfModel =
    models.length + providers.length > 0 ||
    groupBy.some((one) => one === 'model' || one === 'provider');
  if (bucket === 'hour' || (isOfKey && isOfModel)) return null;
  return isOfKey ? 'key' : 'model';
}

/** Merged sums: of whole days per day where the question allows it, else per hour. */
function merged(
  question: UsageQuestion,
  whole: Interval,
  conditions: readonly string[],
  state: MergeState,
): Sources {
  if (hasNoRuns(state)) return { texts: [], params: {} };
  const inForce = runsOf(state);
  const grain = grainOf(question);
  const days =
    grain === null ? { startMs: whole.endMs, endMs: whole.endMs } : wholeOf(whole, DAY_MS);
  const parts = [
    ['merged', 'hour', { startMs: whole.startMs, endMs: days.startMs }],
    ['days', 'day', days],
    ['rest', 'hour', { startMs: days.endMs, endMs: whole.endMs }],
  ] as const;
  const texts: string[] = [];
  const params: Record<string, unknown> = { ...inForce.params };
  for (const [name, time, { startMs, endMs }] of parts) {
    if (startMs >= endMs) continue;
    const where = [
      ...conditions,
      ...(time === 'day' ? ['grain = {grain:String}'] : []),
      ...within(time, `${name}_start_s`, `${name}_end_s`),
      `run IN (${inForce.text})`,
    ].join(' AND ');
    const table = time === 'day' ? 'rollup_merged_day' : 'rollup_merged';
    texts.push(`  SELECT ${columnsAt(time)}\n  FROM ${table}\n  WHERE ${where}`);
    params[`${name}_start_s`] = toSecond(startMs);
    params[`${name}_end_s`] = toSecond(endMs);
    if (time === 'day') params['grain'] = grain;
  }
  return { texts, params };
}

/** The cells of sealed batches that are in no merge run. */
function waiting(whole: Interval, conditions: readonly string[], state: MergeState): Sources {
  const { waitingFromMs } = state;
  if (waitingFromMs === null) return { texts: [], params: {} };
  const hours = `${SEAL_HOURS} AND first_hour >= toDateTime({waiting_from_s:UInt32}, 'UTC')`;
  const inForce = runsOf(state);
  const batches = hasNoRuns(state)
    ? hours
    : `${hours} AND batch_id NOT IN (${mergedBatches(inForce.text, hours)})`;
  // Every condition is on the order of the table, so that it may come before FINAL.
  const where = [
    ...conditions,
    `batch_id IN (SELECT batch_id FROM batch_seal WHERE ${batches})`,
    ...within('hour', 'cells_start_s', 'cells_end_s'),
  ].join(' AND ');
  return {
    texts: [`  SELECT ${columnsAt('hour')}\n  FROM rollup_hour FINAL\n  PREWHERE ${where}`],
    params: {
      ...(hasNoRuns(state) ? {} : inForce.params),
      cells_start_s: toSecond(Math.max(whole.startMs, waitingFromMs)),
      cells_end_s: toSecond(whole.endMs),
      waiting_from_s: toSecond(waitingFromMs),
    },
  };
}

function hasNoRuns({ runs }: MergeState): boolean {
  return runs?.length === 0;
}

/** The runs in force as what may stand behind `run IN`. */
function runsOf({ version, runs }: MergeState): { readonly text: string; readonly params: object } {
  return runs === null
    ? { text: runsInForce('{merge_version:UInt64}'), params: { merge_version: version } }
    : { text: '{merge_runs:Array(String)}', params: { merge_runs: runs } };
}

function within(column: string, start: string, end: string): readonly string[] {
  return [
    `${column} >= toDateTime({${start}:UInt32}, 'UTC')`,
    `${column} < toDateTime({${end}:UInt32}, 'UTC')`,
  ];
}
