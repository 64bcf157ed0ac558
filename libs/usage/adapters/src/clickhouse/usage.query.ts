import type { ClickHouseOperation, ClickHouseParams } from '#libs/platform/clickhouse';
import type { AttemptCursor, UsageFilter, UsageGrouping, UsageQuestion } from '#libs/usage/core';

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
  hour: 'toUnixTimestamp(toStartOfHour(occurred_at)) * 1000',
  day: 'toUnixTimestamp(toStartOfDay(occurred_at)) * 1000',
} as const;

const SUMS = [
  'count() AS requests',
  'sum(tokens_in) AS sum_tokens_in',
  'sum(tokens_out) AS sum_tokens_out',
  'sum(cost_usd) AS sum_cost_usd',
  'sum(charge_usd) AS sum_charge_usd',
  "countIf(provenance != 'measured') AS estimated_requests",
];

/**
 * Sums by bucket and group. The text depends on which parts a question has, never on its values.
 * It asks for one row more than allowed, so that the caller can tell "all" from "too many".
 */
export function sumsQuery(question: UsageQuestion): BoundQuery {
  const { conditions, params } = whereOf(question);
  const groups = question.groupBy.map((grouping) => GROUP_COLUMNS[grouping]);
  const bucket = question.bucket === 'none' ? [] : ['bucket_start_ms'];
  const keys = [...bucket, ...groups];
  const columns = [
    ...(question.bucket === 'none' ? [] : [`${BUCKETS[question.bucket]} AS bucket_start_ms`]),
    ...groups,
    ...SUMS,
  ];
  const lines = [
    `SELECT ${columns.join(', ')}`,
    'FROM raw_usage_v1',
    `WHERE ${conditions.join(' AND ')}`,
    ...(keys.length === 0 ? [] : [`GROUP BY ${keys.join(', ')}`]),
    'HAVING requests > 0',
    ...(keys.length === 0 ? [] : [`ORDER BY ${keys.map((key) => `${key} NULLS LAST`).join(', ')}`]),
    'LIMIT {row_limit:UInt32}',
  ];
  return {
    name: 'usage.sums',
    sql: lines.join('\n'),
    params: { ...params, row_limit: question.maxRows + 1 },
  };
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
  const { conditions, params } = whereOf(filter);
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
    params: { ...params, ...cursor, row_limit: limit },
  };
}

/** Served calls and last use of keys, over the whole ledger: a final attempt that was answered. */
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

function whereOf(filter: UsageFilter): {
  readonly conditions: string[];
  readonly params: ClickHouseParams;
} {
  const conditions = [
    'org_id = {org_id:String}',
    "occurred_at >= fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC')",
    "occurred_at < fromUnixTimestamp64Milli({end_ms:Int64}, 'UTC')",
  ];
  const params: Record<string, unknown> = {
    org_id: filter.orgId,
    start_ms: filter.startMs,
    end_ms: filter.endMs,
  };
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
