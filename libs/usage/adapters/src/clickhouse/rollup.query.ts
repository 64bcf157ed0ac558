/** What identifies a cell: the order of `rollup_hour`. */
const CELL_KEYS = [
  'hour',
  'org_id',
  'team_id',
  'key_id',
  'user_id',
  'provider',
  'model',
  'batch_id',
] as const;

/** What a cell holds beside its key and revision. */
const CELL_VALUES = [
  'recorded_month',
  'requests',
  'attempts',
  'estimated_attempts',
  'tokens_in',
  'tokens_out',
  'usage',
  'cost_usd',
  'charge_usd',
] as const;

const KEYS = CELL_KEYS.join(', ');

/** One text per content of a cell; a class without units is as good as absent. */
const CONTENT =
  'toString(tuple(recorded_month, requests, attempts, estimated_attempts, tokens_in, tokens_out, ' +
  'arraySort(arrayFilter(class -> class.2 > 0, arrayZip(mapKeys(usage), mapValues(usage)))), ' +
  'cost_usd, charge_usd))';

const RANGE_OF_HOURS =
  "hour >= toDateTime({start_s:UInt32}, 'UTC') AND hour < toDateTime({end_s:UInt32}, 'UTC')";

/** Names of the two tables beside the rollup. @param label checked by the caller */
export function besideTables(label: string): { readonly cells: string; readonly batches: string } {
  return { cells: `rollup_beside_${label}_cells`, batches: `rollup_beside_${label}_batches` };
}

/** Notes which batches are compared: those sealed by now that have rows in the hours. */
export function noteBatchesSql(batches: string): string {
  return (
    `INSERT INTO ${batches} SELECT DISTINCT batch_id FROM batch_seal ` +
    "WHERE topic = 'request.completed' AND last_hour >= toDateTime({start_s:UInt32}, 'UTC') " +
    "AND first_hour < toDateTime({end_s:UInt32}, 'UTC')"
  );
}

/** Computes the cells of the noted batches from their rows; the twin of `cellsOf`. */
export function computeCellsSql(cells: string, batches: string): string {
  return [
    `INSERT INTO ${cells}`,
    "SELECT toDateTime(toStartOfHour(occurred_at), 'UTC') AS cell_hour, org_id, team_id, key_id,",
    '  user_id, provider, model, batch_id, any(toYYYYMM(recorded_at)), countIf(is_final), count(),',
    "  countIf(provenance != 'measured'), sum(tokens_in), sum(tokens_out), sumMap(usage),",
    '  sum(cost_usd), sum(charge_usd), 0, 0',
    'FROM raw_usage_v1',
    "WHERE occurred_at >= toDateTime({start_s:UInt32}, 'UTC')",
    "  AND occurred_at < toDateTime({end_s:UInt32}, 'UTC')",
    `  AND batch_id IN (SELECT batch_id FROM ${batches})`,
    'GROUP BY cell_hour, org_id, team_id, key_id, user_id, provider, model, batch_id',
  ].join('\n');
}

/** Cells of the noted batches in the rollup in use. */
function cellsInUse(batches: string): string {
  return `${RANGE_OF_HOURS} AND batch_id IN (SELECT batch_id FROM ${batches})`;
}

/** Both accounts of every cell: side 0 is the rollup in use, side 1 the one beside it. */
function bothSides(cells: string, batches: string): string {
  const columns = `${KEYS}, ${CELL_VALUES.join(', ')}, ${CONTENT} AS content`;
  return [
    `  SELECT ${columns}, 0 AS side FROM rollup_hour FINAL`,
    `  WHERE ${cellsInUse(batches)}`,
    '  UNION ALL',
    `  SELECT ${columns}, 1 AS side FROM ${cells}`,
  ].join('\n');
}

const DIFFERS = 'count() != 2 OR min(content) != max(content)';

/** Hours with cells that differ, with what both accounts say of those cells. */
export function differencesSql(cells: string, batches: string): string {
  return [
    'SELECT toUnixTimestamp(hour) AS hour_s, count() AS cell_count,',
    '  sum(attempts_0) AS stored_attempts, sum(attempts_1) AS computed_attempts,',
    '  sum(cost_0) AS stored_cost_usd, sum(cost_1) AS computed_cost_usd,',
    '  sum(charge_0) AS stored_charge_usd, sum(charge_1) AS computed_charge_usd',
    'FROM (',
    `  SELECT ${KEYS},`,
    '    sumIf(attempts, side = 0) AS attempts_0, sumIf(attempts, side = 1) AS attempts_1,',
    '    sumIf(cost_usd, side = 0) AS cost_0, sumIf(cost_usd, side = 1) AS cost_1,',
    '    sumIf(charge_usd, side = 0) AS charge_0, sumIf(charge_usd, side = 1) AS charge_1',
    '  FROM (',
    bothSides(cells, batches),
    '  )',
    `  GROUP BY ${KEYS}`,
    `  HAVING ${DIFFERS}`,
    ')',
    'GROUP BY hour',
    'ORDER BY hour',
  ].join('\n');
}

/**
 * Writes the cells that differ over the rollup in use, above every revision of these batches; one that
 * no row stands behind is marked deleted. The revisions are read without FINAL, which hides those of
 * cells marked deleted before. Deduplication is off: the same repair may be needed twice.
 */
export function applySql(cells: string, batches: string): string {
  return [
    'INSERT INTO rollup_hour',
    `SELECT ${KEYS},`,
    `  ${CELL_VALUES.map((column) => `argMax(${column}, side)`).join(', ')},`,
    `  (SELECT max(revision) FROM rollup_hour WHERE ${cellsInUse(batches)}) + 1,`,
    '  toUInt8(max(side) = 0)',
    'FROM (',
    bothSides(cells, batches),
    ')',
    `GROUP BY ${KEYS}`,
    `HAVING ${DIFFERS}`,
    'SETTINGS insert_deduplicate = 0',
  ].join('\n');
}

/** Rows beyond the first of an event id among the noted batches. */
export function repeatedRowsSql(batches: string): string {
  return (
    'SELECT count() - uniqExact(event_id) AS repeated FROM raw_usage_v1 ' +
    "WHERE occurred_at >= toDateTime({start_s:UInt32}, 'UTC') " +
    "AND occurred_at < toDateTime({end_s:UInt32}, 'UTC') " +
    `AND batch_id IN (SELECT batch_id FROM ${batches})`
  );
}
