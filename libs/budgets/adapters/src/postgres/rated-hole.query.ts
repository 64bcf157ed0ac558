import type { Database } from '#libs/platform/postgres';

/** A source partition of which a rated batch is missing. */
export interface RatedHole {
  /** Of the source, for example `request.completed`. */
  readonly topic: string;
  readonly partition: number;
  /** First source offset that is missing. */
  readonly fromOffset: bigint;
  /** How long the oldest batch has waited behind it, or it is seen at the end, milliseconds. */
  readonly waitingMs: number;
}

/** How far a source partition is settled. */
export interface AppliedPlace {
  /** Of the source, for example `request.completed`. */
  readonly topic: string;
  readonly partition: number;
  /** First source offset that is not settled. */
  readonly nextOffset: bigint;
}

/** How far each source partition is settled; one of which no message ever came is absent. */
export async function readAppliedPlaces(database: Database): Promise<readonly AppliedPlace[]> {
  const { rows } = await database.query<{ topic: string; partition: number; next_offset: bigint }>(
    'SELECT topic, partition, next_offset FROM applied_through',
  );
  return rows.map(({ topic, partition, next_offset: nextOffset }) => ({
    topic,
    partition,
    nextOffset,
  }));
}

/**
 * Every hole that a later batch shows, at most one per source partition: what lies behind a second
 * one waits as well.
 */
export async function readRatedHoles(database: Database): Promise<readonly RatedHole[]> {
  const { rows } = await database.query<{
    topic: string;
    partition: number;
    next_offset: bigint;
    waiting_ms: number;
  }>(
    `SELECT topic, partition, t.next_offset,
            (extract(epoch FROM now() - min(p.parked_at)) * 1000)::float8 AS waiting_ms
     FROM parked_batch p JOIN applied_through t USING (topic, partition)
     GROUP BY topic, partition, t.next_offset`,
  );
  return rows.map((row) => ({
    topic: row.topic,
    partition: row.partition,
    fromOffset: row.next_offset,
    waitingMs: row.waiting_ms,
  }));
}
