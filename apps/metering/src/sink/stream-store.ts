import type { Queryable, Transaction } from '#libs/platform/postgres';
import type { MissingRange } from '#libs/usage/core';

import {
  contiguousSeq,
  emptyStream,
  type SequenceGap,
  type StreamState,
} from '../domain/emitter-streams.js';

type StreamKey = Pick<StreamState, 'emitterId' | 'lane'>;

interface GapRow extends Record<string, unknown> {
  readonly emitter_id: string;
  readonly lane: number;
  readonly from_seq: bigint;
  readonly to_seq: bigint;
}

/** Most open gaps named in one answer. */
const MAX_LISTED_GAPS = 1_000;

/** Emitters' streams in `metering.emitter_watermark` and `metering.emitter_gap`. */
export class StreamStore {
  /** The streams as they stand; one that was never seen is empty. */
  async load(db: Queryable, keys: readonly StreamKey[]): Promise<readonly StreamState[]> {
    if (keys.length === 0) return [];
    const pairs = [keys.map(({ emitterId }) => emitterId), keys.map(({ lane }) => lane)];
    const marks = await db.query<{ emitter_id: string; lane: number; high_seq: bigint }>(
      `SELECT emitter_id, lane, high_seq FROM emitter_watermark
       JOIN unnest($1::text[], $2::integer[]) AS k(emitter_id, lane) USING (emitter_id, lane)`,
      pairs,
    );
    const gaps = await db.query<GapRow>(
      `SELECT emitter_id, lane, from_seq, to_seq FROM emitter_gap
       JOIN unnest($1::text[], $2::integer[]) AS k(emitter_id, lane) USING (emitter_id, lane)
       WHERE resolved_at IS NULL ORDER BY from_seq`,
      pairs,
    );
    return keys.map(({ emitterId, lane }) => {
      const isOwn = (row: { emitter_id: string; lane: number }): boolean =>
        row.emitter_id === emitterId && row.lane === lane;
      const mark = marks.rows.find(isOwn);
      if (mark === undefined) return emptyStream(emitterId, lane);
      const open = gaps.rows
        .filter(isOwn)
        .map((gap) => ({ fromSeq: gap.from_seq, toSeq: gap.to_seq }));
      return { emitterId, lane, highSeq: mark.high_seq, gaps: open };
    });
  }

  /** Stores streams that moved: watermarks, new gaps, shrunken gaps, closed gaps. */
  async save(
    tx: Transaction,
    changes: readonly { readonly before: StreamState; readonly after: StreamState }[],
  ): Promise<void> {
    for (const { before, after } of changes) {
      await tx.query(
        `INSERT INTO emitter_watermark (emitter_id, lane, contiguous_seq, high_seq)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (emitter_id, lane)
         DO UPDATE SET contiguous_seq = excluded.contiguous_seq, high_seq = excluded.high_seq`,
        [after.emitterId, after.lane, contiguousSeq(after), after.highSeq],
      );
      const closed = before.gaps.filter((gap) => !includes(after.gaps, gap));
      for (const gap of closed) await this.close(tx, after, gap);
      const opened = after.gaps.filter((gap) => !includes(before.gaps, gap));
      for (const gap of opened) await this.open(tx, after, gap);
    }
  }

  /** Open gaps, at most 1,000, lowest first per stream. */
  async missing(db: Queryable): Promise<readonly MissingRange[]> {
    const { rows } = await db.query<GapRow>(
      `SELECT emitter_id, lane, from_seq, to_seq FROM emitter_gap
       WHERE resolved_at IS NULL ORDER BY emitter_id, lane, from_seq LIMIT ${MAX_LISTED_GAPS}`,
    );
    return rows.map((row) => ({
      emitterId: row.emitter_id,
      lane: row.lane,
      fromSeq: row.from_seq.toString(),
      toSeq: row.to_seq.toString(),
    }));
  }

  /** A gap that shrank is replaced by what is left of it; only a gap that is gone stays as history. */
  private async close(tx: Transaction, after: StreamState, gap: SequenceGap): Promise<void> {
    const shrank = after.gaps.some(
      ({ fromSeq, toSeq }) => fromSeq >= gap.fromSeq && toSeq <= gap.toSeq,
    );
    const where = 'WHERE emitter_id = $1 AND lane = $2 AND from_seq = $3 AND resolved_at IS NULL';
    await tx.query(
      shrank
        ? `DELETE FROM emitter_gap ${where}`
        : `UPDATE emitter_gap SET resolved_at = clock_timestamp() ${where}`,
      [after.emitterId, after.lane, gap.fromSeq],
    );
  }

  private async open(tx: Transaction, key: StreamKey, gap: SequenceGap): Promise<void> {
    await tx.query(
      `INSERT INTO emitter_gap (emitter_id, lane, from_seq, to_seq) VALUES ($1, $2, $3, $4)
       ON CONFLICT (emitter_id, lane, from_seq)
       DO UPDATE SET to_seq = excluded.to_seq, resolved_at = NULL`,
      [key.emitterId, key.lane, gap.fromSeq, gap.toSeq],
    );
  }
}

function includes(gaps: readonly SequenceGap[], gap: SequenceGap): boolean {
  return gaps.some(({ fromSeq, toSeq }) => fromSeq === gap.fromSeq && toSeq === gap.toSeq);
}
