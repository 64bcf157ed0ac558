import { pruneDeadLetters, type Database } from '#libs/platform/postgres';

/** Rows deleted per statement; about 10 ms of work. */
const SLICE_ROWS = 1_000;
/** Slices of one call and table, so that a call ends within a second. */
const SLICES_PER_CALL = 20;

/** How the guard's own tables stand. */
export interface BudgetStanding {
  readonly openHolds: number;
  /** Rated batches that wait behind a hole. */
  readonly parkedBatches: number;
  /** Age of the oldest of them, milliseconds; 0 when there is none. */
  readonly oldestParkedMs: number;
}

/** Counts open holds and parked batches. */
export async function readStanding(database: Database): Promise<BudgetStanding> {
  const { rows } = await database.query<{
    open_holds: bigint;
    parked: bigint;
    oldest_ms: number;
  }>(
    `SELECT (SELECT count(*) FROM hold WHERE state = 'open') AS open_holds,
            count(*) AS parked,
            coalesce(extract(epoch FROM now() - min(parked_at)) * 1000, 0)::float8 AS oldest_ms
     FROM parked_batch`,
  );
  const row = rows[0]!;
  return {
    openHolds: Number(row.open_holds),
    parkedBatches: Number(row.parked),
    oldestParkedMs: row.oldest_ms,
  };
}

/**
 * Deletes ended holds and ids of applied batches older than 7 days, and dead letters that were dealt
 * with, older than 30 days, in slices. Batches below `pruned_below` are known to be applied by their
 * offsets alone. Safe to run anywhere, any time.
 * @returns how many rows went; what is left is found by the next call
 */
export async function pruneBudget(database: Database): Promise<number> {
  const holds = await inSlices(() => rowsOf(database, PRUNE_HOLDS));
  const batches = await inSlices(() => rowsOf(database, PRUNE_BATCHES));
  const letters = await inSlices(() => pruneDeadLetters(database, SLICE_ROWS));
  return holds + batches + letters;
}

async function rowsOf(database: Database, statement: string): Promise<number> {
  return (await database.query(statement)).rowCount;
}

const PRUNE_HOLDS = `DELETE FROM hold WHERE hold_id IN (
  SELECT hold_id FROM hold WHERE state <> 'open' AND ended_at < now() - interval '7 days'
  ORDER BY ended_at LIMIT ${SLICE_ROWS})`;

/** The floor rises in the same statement that forgets the ids below it. */
const PRUNE_BATCHES = `WITH gone AS (
    DELETE FROM applied_batch WHERE batch_id IN (
      SELECT batch_id FROM applied_batch WHERE applied_at < now() - interval '7 days'
      ORDER BY applied_at, first LIMIT ${SLICE_ROWS})
    RETURNING topic, partition, last
  ), floors AS (
    SELECT topic, partition, max(last) + 1 AS floor FROM gone GROUP BY topic, partition
  ), raised AS (
    UPDATE applied_through t SET pruned_below = greatest(t.pruned_below, f.floor) FROM floors f
    WHERE t.topic = f.topic AND t.partition = f.partition
  )
  SELECT last FROM gone`;

async function inSlices(deleteSlice: () => Promise<number>): Promise<number> {
  let deleted = 0;
  for (let slice = 0; slice < SLICES_PER_CALL; slice += 1) {
    const rows = await deleteSlice();
    deleted += rows;
    if (rows < SLICE_ROWS) break;
  }
  return deleted;
}
