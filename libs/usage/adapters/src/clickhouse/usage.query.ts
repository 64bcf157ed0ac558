import type { ClickHouseOperation, ClickHouseParams } from '#libs/platform/clickhouse';
import {
  HOUR_MS,
  hourOf,
  type AttemptCursor,
  type UsageFilter,
  type UsageGrouping,
  type UsageQuestion,
} from '#libs/usage/core';

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

/** What both sources of figures give; times are to the second, which no bucket is finer than. */
const SHARED_COLUMNS =
  'team_id, key_id, user_id, provider, model, tokens_in, tokens_out, cost_usd, charge_usd';

/**
 * Sums by bucket and group, over sealed batches: whole hours from the rollup, what is left at either
 * end from the rows. The text depends on which parts a question has, never on its values. It asks for
 * one row more than allowed, so that the caller can tell "all" from "too many".
 */
export function sumsQuery(question: UsageQuestion): BoundQuery {
  const { conditions, params } = filtersOf(question);
  const groups = question.groupBy.map((grouping) => GROUP_COLUMNS[grouping]);
  const bucket = question.bucket === 'none' ? [] : ['bucket_start_ms'];
  const keys = [...bucket, ...groups];
  const columns = [
    ...(question.bucket === 'none' ? [] : [`${BUCKETS[question.bucket]} AS bucket_start_ms`]),
    ...groups,
    ...SUMS,
  ];
  const sources = sourcesOf(question, [...conditions, sealed('seal_start_ms', 'seal_end_ms')]);
  const lines = [
    `SELECT ${columns.join(', ')}`,
    'FROM (',
    sources.texts.join('\nUNION ALL\n'),
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
      ...sources.params,
      ...sealBounds(question),
      row_limit: question.maxRows + 1,
    },
  };
}

/** Where the figures of an interval come from: at most the rollup and two edges of rows. */
function sourcesOf(
  { startMs, endMs }: UsageFilter,
  conditions: readonly string[],
): { readonly texts: readonly string[]; readonly params: ClickHouseParams } {
  const wholeStartMs = Math.min(endMs, Math.ceil(startMs / HOUR_MS) * HOUR_MS);
  const wholeEndMs = Math.max(wholeStartMs, hourOf(endMs));
  const texts: string[] = [];
  const params: Record<string, number> = {};
  if (wholeStartMs < wholeEndMs) {
    const hours = [
      "hour >= fromUnixTimestamp64Milli({whole_start_ms:Int64}, 'UTC')",
      "hour < fromUnixTimestamp64Milli({whole_end_ms:Int64}, 'UTC')",
    ];
    texts.push(
      `  SELECT hour AS at, ${SHARED_COLUMNS}, attempts, estimated_attempts\n` +
        `  FROM rollup_hour FINAL\n  WHERE ${[...conditions, ...hours].join(' AND ')}`,
    );
    params['whole_start_ms'] = wholeStartMs;
    params['whole_end_ms'] = wholeEndMs;
  }
  const edges = [
    ['head', startMs, wholeStartMs],
    ['tail', wholeEndMs, endMs],
  ] as const;
  for (const [name, fromMs, toMs] of edges) {
    if (fromMs >= toMs) continue;
    const times = [
      `occurred_at >= fromUnixTimestamp64Milli({${name}_start_ms:Int64}, 'UTC')`,
      `occurred_at < fromUnixTimestamp64Milli({${name}_end_ms:Int64}, 'UTC')`,
    ];
    texts.push(
      `  SELECT toDateTime(occurred_at, 'UTC') AS at, ${SHARED_COLUMNS}, toUInt64(1) AS attempts,` +
        ` toUInt64(provenance != 'measured') AS estimated_attempts\n` +
        `  FROM raw_usage_v1\n  WHERE ${[...conditions, ...times].join(' AND ')}`,
    );
    params[`${name}_start_ms`] = fromMs;
    params[`${name}_end_ms`] = toMs;
  }
  return { texts, params };
}

/** Rows of sealed batches; the hours in which a batch occurred bound which seals are read. */
function sealed(start: string, end: string): string {
  return (
    'batch_id IN (SELECT batch_id FROM batch_seal' +
    ` WHERE last_hour >= fromUnixTimestamp64Milli({${start}:Int64}, 'UTC')` +
    ` AND first_hour < fromUnixTimestamp64Milli({${end}:Int64}, 'UTC'))`
  );
}

function sealBounds({ startMs, endMs }: UsageFilter): ClickHouseParams {
  return { seal_start_ms: hourOf(startMs), seal_end_ms: endMs };
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
    sealed('seal_start_ms', 'seal_end_ms'),
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
