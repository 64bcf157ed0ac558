import type { Database } from '#libs/platform/postgres';

/** A source partition whose rated batches wait behind a missing one. */
export interface RatedHole {
  /** Of the source, for example `request.completed`. */
  readonly topic: string;
  readonly partition: number;
  /** First source offset that is missing. */
  readonly fromOffset: bigint;
  /** How long the oldest batch has waited behind it, milliseconds. */
  readonly waitingMs: number;
}

/** Every hole, at most one per source partition: what lies behind a second one waits as well. */
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
