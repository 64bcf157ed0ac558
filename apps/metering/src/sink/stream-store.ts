import { AppError } from '#libs/kernel';
import type { Queryable, Transaction } from '#libs/platform/postgres';
import type { MissingRange } from '#libs/usage/core';

import type { EmitterRange } from '../domain/emitter-range.js';
import { OWN_EMITTER_ID } from '../domain/record-class.js';
import {
  contiguousSeq,
  emptyStream,
  type SequenceGap,
  type StreamState,
} from '../domain/emitter-streams.js';

/** A range that an emitter is asked for. */
export interface AskedRange extends EmitterRange {
  /** How often, this time included. */
  readonly asks: number;
}

/** Pauses between two questions for one gap, seconds: the first, and the longest. */
const FIRST_PAUSE_S = 30;
const MOST_PAUSE_S = 600;

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

  /**
   * Stores streams that moved: watermarks, new gaps, shrunken gaps, closed gaps.
   * @param mostAsked how many new gaps are noted as asked for; a worker asks for the others, and looks
   *   itself for what is missing of metering's own stream
   * @returns the new gaps noted so: the caller asks for them in the same transaction
   * @throws AppError `metering.streams_moved`, retryable: another partition has closed some of a gap
   *   since the streams were loaded; the batch is formed again
   */
  async save(
    tx: Transaction,
    changes: readonly { readonly before: StreamState; readonly after: StreamState }[],
    mostAsked: number,
  ): Promise<readonly EmitterRange[]> {
    const asked: EmitterRange[] = [];
    for (const { before, after } of changes) {
      await tx.query(
        `INSERT INTO emitter_watermark (emitter_id, lane, contiguous_seq, high_seq)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (emitter_id, lane)
         DO UPDATE SET contiguous_seq = excluded.contiguous_seq, high_seq = excluded.high_seq`,
        [after.emitterId, after.lane, contiguousSeq(after), after.highSeq],
      );
      const { emitterId, lane } = after;
      const remains = after.gaps.filter((gap) => !includes(before.gaps, gap));
      for (const gap of before.gaps) {
        if (includes(after.gaps, gap)) continue;
        const rest = remains.filter((part) => isWithin(part, gap));
        await this.shrink(tx, { emitterId, lane, ...gap }, rest);
      }
      for (const gap of remains.filter(({ fromSeq }) => fromSeq > before.highSeq)) {
        const range = { emitterId, lane, ...gap };
        const isAsked = emitterId !== OWN_EMITTER_ID && asked.length < mostAsked;
        await this.open(tx, range, { detectedAt: null, asks: isAsked ? 1 : 0, isFresh: isAsked });
        if (isAsked) asked.push(range);
      }
    }
    return asked;
  }

  /**
   * Closes whatever is open of a range whose records are gone for good.
   * @returns how many sequences were given up
   */
  async closeLost(tx: Transaction, range: EmitterRange): Promise<bigint> {
    const { emitterId, lane, fromSeq, toSeq } = range;
    const { rows } = await tx.query<GapRow>(
      `SELECT emitter_id, lane, from_seq, to_seq FROM emitter_gap
       WHERE emitter_id = $1 AND lane = $2 AND resolved_at IS NULL
         AND from_seq <= $4 AND to_seq >= $3
       ORDER BY from_seq FOR UPDATE`,
      [emitterId, lane, fromSeq, toSeq],
    );
    let given = 0n;
    for (const row of rows) {
      const gap = { emitterId, lane, fromSeq: row.from_seq, toSeq: row.to_seq };
      const lost = {
        emitterId,
        lane,
        fromSeq: gap.fromSeq > fromSeq ? gap.fromSeq : fromSeq,
        toSeq: gap.toSeq < toSeq ? gap.toSeq : toSeq,
      };
      const rest = [
        { fromSeq: gap.fromSeq, toSeq: lost.fromSeq - 1n },
        { fromSeq: lost.toSeq + 1n, toSeq: gap.toSeq },
      ].filter((part) => part.fromSeq <= part.toSeq);
      const detectedAt = await this.shrink(tx, gap, rest, true);
      await this.noteLost(tx, lost, detectedAt);
      given += lost.toSeq - lost.fromSeq + 1n;
    }
    if (given > 0n) await this.raiseContiguous(tx, range);
    return given;
  }

  /**
   * Takes open gaps that are due to be asked for (again), and notes them as asked: 30 s after the
   * last time, then twice that, up to 10 min.
   */
  async takeDue(tx: Transaction, most: number): Promise<readonly AskedRange[]> {
    const { rows } = await tx.query<GapRow & { readonly asks: number }>(
      `UPDATE emitter_gap SET asks = asks + 1, asked_at = clock_timestamp()
       WHERE (emitter_id, lane, from_seq) IN (
         SELECT emitter_id, lane, from_seq FROM emitter_gap
         WHERE resolved_at IS NULL AND (asked_at IS NULL OR asked_at < clock_timestamp()
           - make_interval(secs => least(${MOST_PAUSE_S}, ${FIRST_PAUSE_S} * 2 ^ least(asks - 1, 10))))
         ORDER BY asked_at NULLS FIRST LIMIT $1 FOR UPDATE SKIP LOCKED)
       RETURNING emitter_id, lane, from_seq, to_seq, asks`,
      [most],
    );
    return rows.map((row) => ({
      emitterId: row.emitter_id,
      lane: row.lane,
      fromSeq: row.from_seq,
      toSeq: row.to_seq,
      asks: row.asks,
    }));
  }

  /**
   * Removes up to `most` gaps that were filled more than `seconds` ago: their sequences are below the
   * watermark, which knows them as repeats. A range that was given up stays.
   * @returns how many were removed
   */
  async prune(db: Queryable, seconds: number, most: number): Promise<number> {
    const { rowCount } = await db.query(
      `DELETE FROM emitter_gap WHERE (emitter_id, lane, from_seq) IN (
         SELECT emitter_id, lane, from_seq FROM emitter_gap
         WHERE NOT lost AND resolved_at < clock_timestamp() - make_interval(secs => $1)
         LIMIT $2 FOR UPDATE SKIP LOCKED)`,
      [seconds, most],
    );
    return rowCount;
  }

  /** How many gaps are open. */
  async openCount(db: Queryable): Promise<number> {
    const { rows } = await db.query<{ n: number }>(
      'SELECT count(*)::integer AS n FROM emitter_gap WHERE resolved_at IS NULL',
    );
    return rows[0]!.n;
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

  /**
   * Replaces a gap by what is left of it, which keeps its age; a gap that is filled stays as history.
   * @returns when it was detected, as the database writes it
   * @throws AppError `metering.streams_moved` when it is not open as the caller knows it
   */
  private async shrink(
    tx: Transaction,
    gap: EmitterRange,
    rest: readonly SequenceGap[],
    isReplaced = rest.length > 0,
  ): Promise<string> {
    const where = `WHERE emitter_id = $1 AND lane = $2 AND from_seq = $3 AND to_seq = $4
      AND resolved_at IS NULL`;
    const { rows } = await tx.query<{ detected_at: string; asks: number }>(
      isReplaced
        ? `DELETE FROM emitter_gap ${where} RETURNING detected_at::text, asks`
        : `UPDATE emitter_gap SET resolved_at = clock_timestamp() ${where}
           RETURNING detected_at::text, asks`,
      [gap.emitterId, gap.lane, gap.fromSeq, gap.toSeq],
    );
    const was = rows[0];
    // Refusals are read beside the partition in which their emitter gives up a range of them.
    if (was === undefined) throw streamsMoved(gap);
    const { emitterId, lane } = gap;
    const told = { detectedAt: was.detected_at, asks: was.asks, isFresh: true };
    for (const part of rest) await this.open(tx, { emitterId, lane, ...part }, told);
    return was.detected_at;
  }

  private async open(
    tx: Transaction,
    range: EmitterRange,
    told: { readonly detectedAt: string | null; readonly asks: number; readonly isFresh: boolean },
  ): Promise<void> {
    await tx.query(
      `INSERT INTO emitter_gap (emitter_id, lane, from_seq, to_seq, detected_at, asks, asked_at)
       VALUES ($1, $2, $3, $4, coalesce($5::timestamptz, clock_timestamp()), $6,
               CASE WHEN $7 THEN clock_timestamp() END)
       ON CONFLICT (emitter_id, lane, from_seq)
       DO UPDATE SET to_seq = excluded.to_seq, resolved_at = NULL, lost = false,
         asks = excluded.asks, asked_at = excluded.asked_at`,
      [
        range.emitterId,
        range.lane,
        range.fromSeq,
        range.toSeq,
        told.detectedAt,
        told.asks,
        told.isFresh,
      ],
    );
  }

  private async noteLost(tx: Transaction, range: EmitterRange, detectedAt: string): Promise<void> {
    await tx.query(
      `INSERT INTO emitter_gap
         (emitter_id, lane, from_seq, to_seq, detected_at, resolved_at, lost)
       VALUES ($1, $2, $3, $4, $5::timestamptz, clock_timestamp(), true)
       ON CONFLICT (emitter_id, lane, from_seq)
       DO UPDATE SET to_seq = excluded.to_seq, resolved_at = excluded.resolved_at, lost = true`,
      [range.emitterId, range.lane, range.fromSeq, range.toSeq, detectedAt],
    );
  }

  private async raiseContiguous(tx: Transaction, key: StreamKey): Promise<void> {
    await tx.query(
      `UPDATE emitter_watermark w SET contiguous_seq = coalesce(
         (SELECT min(from_seq) - 1 FROM emitter_gap g
          WHERE g.emitter_id = w.emitter_id AND g.lane = w.lane AND resolved_at IS NULL),
         w.high_seq)
       WHERE emitter_id = $1 AND lane = $2`,
      [key.emitterId, key.lane],
    );
  }
}

function streamsMoved({ emitterId, lane, fromSeq, toSeq }: EmitterRange): AppError {
  return new AppError({
    code: 'metering.streams_moved',
    kind: 'conflict',
    publicMessage: 'internal error',
    internalMessage:
      `gap ${fromSeq} to ${toSeq} of emitter ${emitterId}, lane ${lane}, ` +
      'was closed in part meanwhile; the batch is formed again',
    retryable: true,
  });
}

function isWithin(part: SequenceGap, gap: SequenceGap): boolean {
  return part.fromSeq >= gap.fromSeq && part.toSeq <= gap.toSeq;
}

function includes(gaps: readonly SequenceGap[], gap: SequenceGap): boolean {
  return gaps.some(({ fromSeq, toSeq }) => fromSeq === gap.fromSeq && toSeq === gap.toSeq);
}
