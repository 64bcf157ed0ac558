import type { ClickHouseOperation, ClickHouseParams } from '#libs/platform/clickhouse';
import {
  HOUR_MS,
  hourOf,
  type AttemptCursor,
  type UsageFilter,
  type UsageGrouping,
  type UsageQuestion,
} from '#libs/usage/core';

import { mergedBatches, runsInForce } from './rollup-merge.query.js';

/** A statement with its values. */
export interface BoundQuery extends ClickHouseOperation {
  readonly params: ClickHouseParams;
}

/** Columns of the groupings; also the name of the member in the result. */
export const GROUP_COLUMNS: Readonly<Record<UsageGrouping, string>> = {
  key: 'key_id',
  team: 'team_id',
  user: 'user_id',
  model: 'model',
  provider: 'provider',
};

/** Start of the bucket in milliseconds UTC. */
const BUCKETS = {
  hour: 'toUnixTimestamp(toStartOfHour(at)) * 1000',
  day: 'toUnixTimestamp(toStartOfDay(at)) * 1000',
} as const;

const SUMS = [
  'sum(attempts) AS requests',
  'sum(tokens_in) AS sum_tokens_in',
  'sum(tokens_out) AS sum_tokens_out',
  'sum(cost_usd) AS sum_cost_usd',
  'sum(charge_usd) AS sum_charge_usd',
  'sum(estimated_attempts) AS estimated_requests',
];

/** The last second of the type DateTime. */
const MAX_SECOND = 2 ** 32 - 1;

/** What both sources of figures give; times are to the second, which no bucket is finer than. */
const SHARED_COLUMNS =
  'team_id, key_id, user_id, provider, model, tokens_in, tokens_out, cost_usd, charge_usd';

/** Which merge runs an answer sees, and which batches they leave to be read one by one. */
export interface MergeState {
  /** 0 = nothing was ever merged. */
  readonly version: number;
  /** First hour of a batch that is not merged, milliseconds UTC; null = there is none. */
  readonly waitingFromMs: number | null;
}

/** What an answer sees when nothing is merged. */
export const NOTHING_MERGED: MergeState = { version: 0, waitingFromMs: 0 };

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
      'WITH (SELECT max(version) FROM rollup_run) AS seen',
      'SELECT toString(seen) AS version, toUnixTimestamp(min(first_hour)) AS waiting_from_s,',
      '  count() AS waiting',
      `FROM batch_seal WHERE topic = 'request.completed' AND ${SEAL_HOURS}`,
      `  AND batch_id NOT IN (${mergedBatches('seen', SEAL_HOURS)})`,
    ].join('\n'),
    params: sealBounds(filter),
  };
}

/** One row of `mergeStateQuery`. */
export interface MergeStateRecord {
  readonly version: string;
  readonly waiting_from_s: number;
  readonly waiting: string;
}

/** What the row says. */
export function toMergeState(record: MergeStateRecord): MergeState {
  return {
    version: Number(record.version),
    waitingFromMs: record.waiting === '0' ? null : record.waiting_from_s * 1000,
  };
}

/**
 * Sums by bucket and group, over sealed batches: whole hours from merged sums and from the cells of
 * batches that are not merged, what is left at either end from the rows. The text depends on which parts a question has, never on its values. It asks for
 * one row more than allowed, so that the caller can tell "all" from "too many".
 */
export function sumsQuery(question: UsageQuestion, state: MergeState): BoundQuery {
  const { conditions, params } = filtersOf(question);
  const groups = question.groupBy.map((grouping) => GROUP_COLUMNS[grouping]);
  const bucket = question.bucket === 'none' ? [] : ['bucket_start_ms'];
  const keys = [...bucket, ...groups];
  const columns = [
    ...(question.bucket === 'none' ? [] : [`${BUCKETS[question.bucket]} AS bucket_start_ms`]),
    ...groups,
    ...SUMS,
  ];
  const sources = [wholeHours(question, conditions, state), edges(question, conditions)];
  const lines = [
    `SELECT ${columns.join(', ')}`,
    'FROM (',
    sources.flatMap(({ texts }) => texts).join('\nUNION ALL\n'),
    ')',
    ...(keys.length === 0 ? [] : [`GROUP BY ${keys.join(', ')}`]),
    'HAVING requests > 0',
    ...(keys.length === 0 ? [] : [`ORDER BY ${keys.map((key) => `${key} NULLS LAST`).join(', ')}`]),
    'LIMIT {row_limit:UInt32}',
  ];
  return {
    name: 'usage.sums',
    sql: lines.join('\n'),
    params: {
      ...params,
      ...sources[0]?.params,
      ...sources[1]?.params,
      ...sealBounds(question),
      row_limit: question.maxRows + 1,
    },
  };
}

/** Parts of a statement with their values. */
interface Sources {
  readonly texts: readonly string[];
  readonly params: ClickHouseParams;
}

function wholeHoursOf({ startMs, endMs }: UsageFilter): {
  readonly startMs: number;
  readonly endMs: number;
} {
  const wholeStartMs = Math.min(endMs, Math.ceil(startMs / HOUR_MS) * HOUR_MS);
  return { startMs: wholeStartMs, endMs: Math.max(wholeStartMs, hourOf(endMs)) };
}

/**
 * Whole hours: merged sums, and the cells of batches that are not merged. A batch that was sealed after
 * the state was read, and began before its first waiting hour, is left to the next answer as a whole.
 */
function wholeHours(
  filter: UsageFilter,
  conditions: readonly string[],
  { version, waitingFromMs }: MergeState,
): Sources {
  const whole = wholeHoursOf(filter);
  if (whole.startMs >= whole.endMs) return { texts: [], params: {} };
  const columns = `hour AS at, ${SHARED_COLUMNS}, attempts, estimated_attempts`;
  const hours = (start: string): readonly string[] => [
    `hour >= toDateTime({${start}:UInt32}, 'UTC')`,
    "hour < toDateTime({whole_end_s:UInt32}, 'UTC')",
  ];
  const texts: string[] = [];
  const params: Record<string, number> = { whole_end_s: toSecond(whole.endMs) };
  if (version > 0) {
    const inForce = `run IN (${runsInForce('{merge_version:UInt64}')})`;
    const where = [...conditions, ...hours('whole_start_s'), inForce].join(' AND ');
    texts.push(`  SELECT ${columns}\n  FROM rollup_merged\n  WHERE ${where}`);
    params['merge_version'] = version;
    params['whole_start_s'] = toSecond(whole.startMs);
  }
  if (waitingFromMs !== null) {
    const waiting = waitingBatches(version);
    // Every condition is on the order of the table, so that it may come before FINAL.
    const where = [...conditions, waiting, ...hours('cells_start_s')].join(' AND ');
    texts.push(`  SELECT ${columns}\n  FROM rollup_hour FINAL\n  PREWHERE ${where}`);
    params['cells_start_s'] = toSecond(Math.max(whole.startMs, waitingFromMs));
    params['waiting_from_s'] = toSecond(waitingFromMs);
  }
  if (texts.length === 0) texts.push(`  SELECT ${columns} FROM rollup_merged WHERE false`);
  return { texts, params };
}

/** What is left of an interval at either end of its whole hours. */
function edges(filter: UsageFilter, conditions: readonly string[]): Sources {
  const whole = wholeHoursOf(filter);
  const texts: string[] = [];
  const params: Record<string, number> = {};
  const ends = [
    ['head', filter.startMs, whole.startMs],
    ['tail', whole.endMs, filter.endMs],
  ] as const;
  for (const [name, fromMs, toMs] of ends) {
    if (fromMs >= toMs) continue;
    const times = [
      `occurred_at >= fromUnixTimestamp64Milli({${name}_start_ms:Int64}, 'UTC')`,
      `occurred_at < fromUnixTimestamp64Milli({${name}_end_ms:Int64}, 'UTC')`,
    ];
    texts.push(
      `  SELECT toDateTime(occurred_at, 'UTC') AS at, ${SHARED_COLUMNS}, toUInt64(1) AS attempts,` +
        ` toUInt64(provenance != 'measured') AS estimated_attempts\n` +
        `  FROM raw_usage_v1\n  WHERE ${[...conditions, sealed(), ...times].join(' AND ')}`,
    );
    params[`${name}_start_ms`] = fromMs;
    params[`${name}_end_ms`] = toMs;
  }
  return { texts, params };
}

/**
 * The hours in which a batch occurred bound which seals are read. Hours are compared as whole seconds:
 * a comparison with a finer type converts every row, and passes by the order of the table.
 */
const SEAL_HOURS =
  "last_hour >= toDateTime({seal_start_s:UInt32}, 'UTC')" +
  " AND first_hour < toDateTime({seal_end_s:UInt32}, 'UTC')";

/** Rows of sealed batches. */
function sealed(): string {
  return `batch_id IN (SELECT batch_id FROM batch_seal WHERE ${SEAL_HOURS})`;
}

/** Cells of sealed batches that are in no merge run. */
function waitingBatches(version: number): string {
  const hours = `${SEAL_HOURS}` + " AND first_hour >= toDateTime({waiting_from_s:UInt32}, 'UTC')";
  const merged = mergedBatches('{merge_version:UInt64}', hours);
  const waiting = version === 0 ? hours : `${hours} AND batch_id NOT IN (${merged})`;
  return `batch_id IN (SELECT batch_id FROM batch_seal WHERE ${waiting})`;
}

function sealBounds({ startMs, endMs }: UsageFilter): ClickHouseParams {
  return { seal_start_s: toSecond(hourOf(startMs)), seal_end_s: toSecond(endMs) };
}

/** The second at or after a time, within what a column of hours can hold: 1970 to 2106. */
function toSecond(timeMs: number): number {
  return Math.min(Math.max(Math.ceil(timeMs / 1000), 0), MAX_SECOND);
}

const ATTEMPT_COLUMNS = [
  'event_id',
  'request_id',
  'attempt',
  'is_final',
  'toUnixTimestamp64Milli(occurred_at) AS occurred_at_ms',
  'key_id',
  'team_id',
  'user_id',
  'provider',
  'model',
  'status',
  'tokens_in',
  'tokens_out',
  'cost_usd',
  'charge_usd',
  'price_state',
  'provenance',
  'source',
  'latency_ms',
];

/**
 * Attempts, newest first. Ids are compared as their 16 bytes, because the engine orders the type
 * UUID by its second half, which is not the order of the text.
 */
export function attemptsQuery(
  filter: UsageFilter,
  after: AttemptCursor | null,
  limit: number,
): BoundQuery {
  const { conditions, params } = filtersOf(filter);
  conditions.push(
    "occurred_at >= fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC')",
    "occurred_at < fromUnixTimestamp64Milli({end_ms:Int64}, 'UTC')",
    sealed(),
  );
  const times = { start_ms: filter.startMs, end_ms: filter.endMs, ...sealBounds(filter) };
  const cursor =
    after === null ? {} : { after_ms: after.occurredAtMs, after_event_id: after.eventId };
  if (after !== null) {
    conditions.push(
      "(occurred_at < fromUnixTimestamp64Milli({after_ms:Int64}, 'UTC')" +
        " OR (occurred_at = fromUnixTimestamp64Milli({after_ms:Int64}, 'UTC')" +
        ' AND UUIDToNum(event_id) < UUIDToNum({after_event_id:UUID})))',
    );
  }
  const lines = [
    `SELECT ${ATTEMPT_COLUMNS.join(', ')}`,
    'FROM raw_usage_v1',
    `WHERE ${conditions.join(' AND ')}`,
    'ORDER BY occurred_at DESC, UUIDToNum(event_id) DESC',
    'LIMIT {row_limit:UInt32}',
  ];
  return {
    name: 'usage.attempts',
    sql: lines.join('\n'),
    params: { ...params, ...times, ...cursor, row_limit: limit },
  };
}

/**
 * Served calls and last use of keys, over all rows: a final attempt that was answered. Seals are not
 * asked for: it is no figure of finance, and a row without seal is either about to get one or about
 * to be removed.
 */
export function activityQuery(orgId: string, keyIds: readonly string[]): BoundQuery {
  return {
    name: 'usage.activity',
    sql: [
      'SELECT key_id, count() AS requests,',
      '  toUnixTimestamp64Milli(max(occurred_at)) AS last_used_ms',
      'FROM raw_usage_v1',
      'WHERE org_id = {org_id:String} AND key_id IN {key_ids:Array(String)}',
      "  AND is_final AND status IN ('ok', 'partial')",
      'GROUP BY key_id',
      'ORDER BY key_id',
      'LIMIT 1000',
    ].join('\n'),
    params: { org_id: orgId, key_ids: keyIds },
  };
}

function filtersOf(filter: UsageFilter): {
  readonly conditions: string[];
  readonly params: ClickHouseParams;
} {
  const conditions = ['org_id = {org_id:String}'];
  const params: Record<string, unknown> = { org_id: filter.orgId };
  const lists = [
    ['key_id', 'key_ids', filter.keyIds],
    ['team_id', 'team_ids', filter.teamIds],
    ['user_id', 'user_ids', filter.userIds],
    ['model', 'models', filter.models],
    ['provider', 'providers', filter.providers],
  ] as const;
  for (const [column, name, values] of lists) {
    if (values.length === 0) continue;
    conditions.push(`${column} IN {${name}:Array(String)}`);
    params[name] = values;
  }
  return { conditions, params };
}
