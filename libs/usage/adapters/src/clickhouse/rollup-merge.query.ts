import type { ClickHouseOperation } from '#libs/platform/clickhouse';

/** Batches of one run at most, and rows behind them: they bound the memory of a merge. */
const MOST_BATCHES = 5_000;
const MOST_ROWS = 5_000_000;

/** What identifies merged sums beside their run. */
const GROUP_KEYS = 'hour, org_id, team_id, key_id, user_id, provider, model';

const SUMS = [
  'sum(requests)',
  'sum(attempts)',
  'sum(estimated_attempts)',
  'sum(tokens_in)',
  'sum(tokens_out)',
  'sumMap(usage)',
  'sum(cost_usd)',
  'sum(charge_usd)',
].join(', ');

/**
 * The runs in force by a version, a parameter or an expression. What a version says never changes:
 * versions are written in order, each once.
 */
export function runsInForce(version: string): string {
  return (
    `SELECT run FROM rollup_run WHERE version <= ${version} GROUP BY run` +
    " HAVING countIf(kind = 'merged') > 0 AND countIf(kind = 'withdrawn') = 0"
  );
}

/** The last version, the runs ever put in force, and those withdrawn: one tuple, of one reading. */
export const DECISIONS =
  "SELECT (max(version), groupArrayIf(run, kind = 'merged'), groupArrayIf(run, kind = 'withdrawn'))" +
  ' FROM rollup_run';

/**
 * The batches in certain runs, that occurred within the hours a condition names.
 * @param runs a subquery, or an array
 */
export function mergedBatches(runs: string, hours: string): string {
  return (
    `SELECT batch_id FROM rollup_merged_batch WHERE ${hours === '' ? '' : `${hours} AND `}` +
    `run IN (${runs})`
  );
}

const VERSION = '{version:UInt64}';

const IS_CANDIDATE = [
  "topic = 'request.completed'",
  "last_hour < toDateTime({before_s:UInt32}, 'UTC')",
  "(last_hour, batch_id) > (toDateTime({after_s:UInt32}, 'UTC'), {after_batch:String})",
  `batch_id NOT IN (${mergedBatches(runsInForce(VERSION), '')})`,
].join('\n  AND ');

/** How many batches the next run looks at, which is the last in the order of seals, and their hours. */
export const CANDIDATES: ClickHouseOperation = {
  name: 'usage.merge_candidates',
  sql: [
    'SELECT count() AS considered, toUnixTimestamp(min(from_hour)) AS first_s,',
    '  toUnixTimestamp(max(place).1) AS last_s, max(place).2 AS last_batch',
    'FROM (',
    '  SELECT (last_hour, batch_id) AS place,',
    '    sum(seal_rows) OVER (ORDER BY last_hour, batch_id ROWS UNBOUNDED PRECEDING) AS rows_so_far,',
    '    seal_rows, from_hour',
    '  FROM (',
    '    SELECT last_hour, batch_id, any(row_count) AS seal_rows, any(first_hour) AS from_hour',
    '    FROM batch_seal',
    `    WHERE ${IS_CANDIDATE}`,
    '    GROUP BY last_hour, batch_id',
    `    ORDER BY last_hour, batch_id LIMIT ${MOST_BATCHES}`,
    '  )',
    ')',
    `WHERE rows_so_far - seal_rows < ${MOST_ROWS}`,
  ].join('\n'),
};

/** Notes the batches of a run: those looked at whose cells amount to their seal. */
export const NOTE_BATCHES: ClickHouseOperation = {
  name: 'usage.merge_note_batches',
  sql: [
    'INSERT INTO rollup_merged_batch',
    "SELECT {run:String}, batch_id, seal_rows, seal_cost, seal_charge, from_hour, last_hour, now('UTC')",
    'FROM (',
    '  SELECT last_hour, batch_id, any(first_hour) AS from_hour, any(row_count) AS seal_rows,',
    '    any(cost_usd) AS seal_cost, any(charge_usd) AS seal_charge',
    '  FROM batch_seal',
    `  WHERE ${IS_CANDIDATE}`,
    "    AND (last_hour, batch_id) <= (toDateTime({last_s:UInt32}, 'UTC'), {last_batch:String})",
    '  GROUP BY last_hour, batch_id',
    ') AS seals',
    'INNER JOIN (',
    '  SELECT batch_id, sum(attempts) AS cell_rows, sum(cost_usd) AS cell_cost,',
    '    sum(charge_usd) AS cell_charge',
    '  FROM rollup_hour FINAL',
    "  PREWHERE hour >= toDateTime({first_s:UInt32}, 'UTC') AND hour <= toDateTime({last_s:UInt32}, 'UTC')",
    '  AND batch_id IN (',
    `    SELECT batch_id FROM batch_seal WHERE ${IS_CANDIDATE}`,
    "      AND (last_hour, batch_id) <= (toDateTime({last_s:UInt32}, 'UTC'), {last_batch:String}))",
    '  GROUP BY batch_id',
    ') AS cells USING (batch_id)',
    'WHERE cell_rows = seal_rows AND cell_cost = seal_cost AND cell_charge = seal_charge',
    'SETTINGS max_partitions_per_insert_block = 0, insert_deduplicate = 0',
  ].join('\n'),
};

/** What the batches of a run amount to, and the hours they lie in. */
export const NOTED: ClickHouseOperation = {
  name: 'usage.merge_noted',
  sql:
    'SELECT count() AS batches, sum(row_count) AS row_sum, sum(cost_usd) AS cost_sum,' +
    ' sum(charge_usd) AS charge_sum, toUnixTimestamp(min(first_hour)) AS start_s,' +
    ' toUnixTimestamp(max(last_hour)) + 3600 AS end_s' +
    ' FROM rollup_merged_batch WHERE run = {run:String}',
};

const HOURS =
  "hour >= toDateTime({start_s:UInt32}, 'UTC') AND hour < toDateTime({end_s:UInt32}, 'UTC')";

/** Sums the cells of the batches of a run. */
export const MERGE_CELLS: ClickHouseOperation = {
  name: 'usage.merge_cells',
  sql: [
    'INSERT INTO rollup_merged',
    `SELECT ${GROUP_KEYS}, {run:String}, ${SUMS}, now('UTC')`,
    'FROM rollup_hour FINAL',
    `PREWHERE ${HOURS}`,
    '  AND batch_id IN (SELECT batch_id FROM rollup_merged_batch WHERE run = {run:String})',
    `GROUP BY ${GROUP_KEYS}`,
    'SETTINGS max_partitions_per_insert_block = 0, insert_deduplicate = 0',
  ].join('\n'),
};

/** What the merged sums of a run amount to. */
export const MERGED: ClickHouseOperation = {
  name: 'usage.merge_merged',
  sql:
    'SELECT sum(attempts) AS row_sum, sum(cost_usd) AS cost_sum, sum(charge_usd) AS charge_sum' +
    ` FROM rollup_merged WHERE run = {run:String} AND ${HOURS}`,
};

/** What identifies sums per day beside their run. */
const DAY_KEYS = 'grain, day, org_id, team_id, key_id, user_id, provider, model';

/**
 * Sums of merged hours per day, once for each grain. The columns a grain leaves out are empty, which
 * a settings profile must not turn into NULL.
 */
function daysFrom(hours: string, more: string, keys: string): string {
  return [
    "SELECT if(grouping(model) = 0, 'model', 'key') AS grain,",
    `  toStartOfDay(hour) AS day, org_id, team_id, key_id, user_id, provider, model${more},`,
    '  sum(attempts) AS attempts, sum(estimated_attempts) AS estimated_attempts,',
    '  sum(tokens_in) AS tokens_in, sum(tokens_out) AS tokens_out,',
    '  sum(cost_usd) AS cost_usd, sum(charge_usd) AS charge_usd',
    `FROM (${hours})`,
    'GROUP BY GROUPING SETS (',
    `  (day, org_id, team_id, provider, model${keys}),`,
    `  (day, org_id, team_id, key_id, user_id${keys})`,
    ')',
  ].join('\n');
}

/** Sums the merged hours of a run per day. */
export const MERGE_DAYS: ClickHouseOperation = {
  name: 'usage.merge_days',
  sql: [
    'INSERT INTO rollup_merged_day',
    `SELECT ${DAY_KEYS}, {run:String}, attempts, estimated_attempts, tokens_in, tokens_out, cost_usd,`,
    "  charge_usd, now('UTC')",
    `FROM (${daysFrom(`SELECT * FROM rollup_merged WHERE run = {run:String} AND ${HOURS}`, '', '')})`,
    'SETTINGS max_partitions_per_insert_block = 0, insert_deduplicate = 0, group_by_use_nulls = 0',
  ].join('\n'),
};

const DAYS =
  "day >= toStartOfDay(toDateTime({start_s:UInt32}, 'UTC')) AND day < toDateTime({end_s:UInt32}, 'UTC')";

/** What the sums per day of a run amount to, for each grain. */
export const MERGED_DAYS: ClickHouseOperation = {
  name: 'usage.merge_merged_days',
  sql:
    'SELECT sum(attempts) AS row_sum, sum(cost_usd) AS cost_sum, sum(charge_usd) AS charge_sum' +
    ` FROM rollup_merged_day WHERE run = {run:String} AND ${DAYS} GROUP BY grain`,
};

const CONTENT =
  'toString(tuple(sum(requests), sum(attempts), sum(estimated_attempts), sum(tokens_in),' +
  ' sum(tokens_out), arraySort(arrayFilter(class -> class.2 > 0,' +
  ' arrayZip(mapKeys(sumMap(usage)), mapValues(sumMap(usage))))), sum(cost_usd), sum(charge_usd)))';

const DAY_CONTENT =
  'toString(tuple(attempts, estimated_attempts, tokens_in, tokens_out, cost_usd, charge_usd))';

/** The hours of all days that a range touches. */
const HOURS_OF_DAYS =
  "hour >= toStartOfDay(toDateTime({start_s:UInt32}, 'UTC'))" +
  " AND hour < toStartOfDay(toDateTime({end_s:UInt32} + 86399, 'UTC'))";

/** Runs in force whose sums per day are not those of their hours. */
const RUNS_WITH_STALE_DAYS = [
  'SELECT run FROM (',
  `  SELECT toString(run) AS run, ${DAY_KEYS}, ${DAY_CONTENT} AS content`,
  `  FROM rollup_merged_day WHERE ${DAYS} AND run IN (${runsInForce(VERSION)})`,
  '  UNION ALL',
  `  SELECT toString(run) AS run, ${DAY_KEYS}, ${DAY_CONTENT} AS content FROM (`,
  daysFrom(
    `SELECT * FROM rollup_merged WHERE ${HOURS_OF_DAYS} AND run IN (${runsInForce(VERSION)})`,
    ', run',
    ', run',
  ),
  '  )',
  ')',
  `GROUP BY run, ${DAY_KEYS}`,
  'HAVING count() != 2 OR min(content) != max(content)',
].join('\n');

/**
 * Runs in force with hours in a range whose sums are not those of their cells, whose sums per day are
 * not those of their hours, or which share a batch with another.
 */
export const STALE_RUNS: ClickHouseOperation = {
  name: 'usage.merge_stale',
  sql: [
    'SELECT DISTINCT run FROM (',
    `  SELECT run FROM (`,
    `    SELECT toString(run) AS run, ${GROUP_KEYS}, ${CONTENT} AS content, 0 AS side`,
    `    FROM rollup_merged WHERE ${HOURS} AND run IN (${runsInForce(VERSION)})`,
    `    GROUP BY run, ${GROUP_KEYS}`,
    '    UNION ALL',
    `    SELECT toString(noted_run) AS run, ${GROUP_KEYS}, ${CONTENT} AS content, 1 AS side`,
    '    FROM (',
    `      SELECT * FROM rollup_hour FINAL PREWHERE ${HOURS}`,
    '    ) AS cells',
    '    INNER JOIN (',
    '      SELECT run AS noted_run, batch_id FROM rollup_merged_batch',
    "      WHERE last_hour >= toDateTime({start_s:UInt32}, 'UTC')",
    "        AND first_hour < toDateTime({end_s:UInt32}, 'UTC')",
    `        AND run IN (${runsInForce(VERSION)})`,
    '    ) AS noted USING (batch_id)',
    `    GROUP BY run, ${GROUP_KEYS}`,
    '  )',
    `  GROUP BY run, ${GROUP_KEYS}`,
    '  HAVING count() != 2 OR min(content) != max(content)',
    '  UNION ALL',
    RUNS_WITH_STALE_DAYS,
    '  UNION ALL',
    '  SELECT arrayJoin(runs) AS run FROM (',
    '    SELECT groupArray(toString(run)) AS runs FROM rollup_merged_batch',
    "    WHERE last_hour >= toDateTime({start_s:UInt32}, 'UTC')",
    "      AND first_hour < toDateTime({end_s:UInt32}, 'UTC')",
    `      AND run IN (${runsInForce(VERSION)})`,
    '    GROUP BY batch_id HAVING count() > 1',
    '  )',
    ')',
    'ORDER BY run',
    'SETTINGS group_by_use_nulls = 0',
  ].join('\n'),
};

/** Runs a day old that are not in force, and were not within the last hour. */
export const USELESS_RUNS: ClickHouseOperation = {
  name: 'usage.merge_useless',
  sql: [
    'SELECT DISTINCT toString(run) AS run FROM (',
    '  SELECT run, made_at FROM rollup_merged UNION ALL SELECT run, made_at FROM rollup_merged_day',
    '  UNION ALL SELECT run, made_at FROM rollup_merged_batch',
    ')',
    "WHERE made_at < now('UTC') - 86400",
    `  AND run NOT IN (${runsInForce(VERSION)})`,
    "  AND run NOT IN (SELECT run FROM rollup_run WHERE at > now('UTC') - 3600)",
    'ORDER BY run LIMIT 100',
  ].join('\n'),
};
