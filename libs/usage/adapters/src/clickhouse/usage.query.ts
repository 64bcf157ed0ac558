import type { ClickHouseParams } from '#libs/platform/clickhouse';
import type { AttemptCursor, UsageFilter, UsageGrouping, UsageQuestion } from '#libs/usage/core';

import { sealBounds, sealed, type BoundQuery, type Sources } from './sealed.query.js';
import { SHARED_COLUMNS, wholeHours, wholeHoursOf, type MergeState } from './whole-hours.query.js';

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

/**
 * Sums by bucket and group, over sealed batches: whole hours from merged sums and from the cells of
 * batches that are not merged, what is left at either end from the rows. The text depends on which
 * parts a question has, never on its values. It asks for one row more than allowed, so that the caller
 * can tell "all" from "too many".
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
  const sources = [wholeHours(question, conditions, state), edges(question, conditions)] as const;
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
      ...sources[0].params,
      ...sources[1].params,
      ...sealBounds(question),
      row_limit: question.maxRows + 1,
    },
  };
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
