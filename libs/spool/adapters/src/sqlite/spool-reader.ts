import { crc32 } from 'node:zlib';

import type { DatabaseSync, StatementSync } from 'node:sqlite';

import { AppError } from '#libs/kernel';

import { crcOfRow, eventIdText, readOpens } from './record-codec.js';
import type { OpenAttemptRow, PublishedRows, SpooledRow } from './writer-protocol.js';

/**
 * A row of `spool` with its CRC checked. Counters are plain numbers: a value beyond 2^53 makes the
 * engine throw instead of rounding.
 * @throws AppError `spool.damaged_row`
 */
export function readRow(row: Record<string, unknown>): SpooledRow & { readonly closes: number } {
  const columns = {
    closes: row['closes'] as number,
    sequence: row['seq'] as number,
    atUs: row['at_us'] as number,
    lane: row['lane'] as number,
    eventId: row['event_id'] as Uint8Array,
    framed: row['body'] as Uint8Array,
  };
  // A damaged lane may lie outside the range in which a checksum can be taken at all.
  const isSound =
    columns.lane >= 0 &&
    columns.lane <= 0xffff_ffff &&
    columns.eventId.byteLength === 16 &&
    crcOfRow(columns) === row['crc'];
  if (!isSound) throw damagedRow(`row ${String(row['pos'])} of the spool`);
  return { ...columns, position: row['pos'] as number };
}

function damagedRow(what: string): AppError {
  return new AppError({
    code: 'spool.damaged_row',
    kind: 'internal',
    publicMessage: 'internal error',
    internalMessage: `${what} fails its checksum`,
  });
}

/** A row, or null when its checksum does not fit. */
export function soundRow(raw: Record<string, unknown>): ReturnType<typeof readRow> | null {
  try {
    return readRow(raw);
  } catch {
    return null;
  }
}

/** What of a lane is asked for, and how far it can be answered. */
export interface PublishedQuery {
  readonly lane: number;
  readonly from: number;
  readonly to: number;
  /** Highest sequence the lane has ever used. */
  readonly lastSequence: number;
  readonly ackedPosition: number;
  readonly maxEvents: number;
  readonly maxBytes: number;
}

/** The reading side of the connection. Synchronous; lives in the writer thread. */
export class SpoolReader {
  private readonly behind: StatementSync;
  private readonly ofLane: StatementSync;

  constructor(private readonly db: DatabaseSync) {
    this.behind = db.prepare('SELECT * FROM spool WHERE pos > ? ORDER BY pos LIMIT ?');
    this.ofLane = db.prepare(
      'SELECT * FROM spool WHERE lane = ? AND seq BETWEEN ? AND ? ORDER BY seq LIMIT ?',
    );
  }

  /**
   * Events behind a position, in order, each checked; at least one when there is one, whatever its
   * size.
   * @throws AppError `spool.damaged_row` when the first of them is damaged; a later one ends the read
   */
  read(after: number, maxEvents: number, maxBytes: number): SpooledRow[] {
    const rows: SpooledRow[] = [];
    let bytes = 0;
    for (const raw of this.behind.iterate(after, maxEvents)) {
      const row = rows.length === 0 ? readRow(raw) : soundRow(raw);
      if (row === null) break;
      bytes += row.framed.byteLength;
      if (rows.length > 0 && bytes > maxBytes) break;
      rows.push(row);
    }
    return rows;
  }

  /**
   * The first part of a range as far as it is published. A row that is gone or damaged is missing; one
   * that still waits for its turn ends the answer.
   */
  published(query: PublishedQuery): PublishedRows {
    const { lane, from, ackedPosition, maxEvents, maxBytes } = query;
    const to = Math.min(query.to, query.lastSequence);
    const rows: SpooledRow[] = [];
    const missing: { from: number; to: number }[] = [];
    let expected = from;
    let bytes = 0;
    let seen = 0;
    const missUntil = (sequence: number): void => {
      if (sequence >= expected) missing.push({ from: expected, to: sequence });
      expected = sequence + 1;
    };
    for (const raw of this.ofLane.iterate(lane, from, to, maxEvents)) {
      const sequence = raw['seq'] as number;
      if (sequence > expected) missUntil(sequence - 1);
      if ((raw['pos'] as number) > ackedPosition) return { rows, missing, next: null };
      const row = soundRow(raw);
      bytes += row?.framed.byteLength ?? 0;
      if (rows.length > 0 && bytes > maxBytes) return { rows, missing, next: sequence };
      if (row === null) missUntil(sequence);
      else rows.push(row);
      expected = sequence + 1;
      seen += 1;
    }
    if (seen === maxEvents && expected <= to) return { rows, missing, next: expected };
    missUntil(to);
    return { rows, missing, next: null };
  }

  /** Those of the given attempts that stand in the journal, by number. */
  attempts(numbers: readonly number[]): OpenAttemptRow[] {
    const wanted = new Set(numbers);
    const marks = new Map<number, number>();
    for (const row of this.db.prepare('SELECT * FROM progress').iterate()) {
      marks.set(row['attempt'] as number, row['tokens_out'] as number);
    }
    const found: OpenAttemptRow[] = [];
    for (const row of this.db.prepare('SELECT * FROM journal ORDER BY pos').iterate()) {
      const records = readBlock(row);
      records.forEach((record, index) => {
        const number = (row['pos'] as number) + index;
        if (!wanted.has(number)) return;
        found.push({ ...record, body: record.body.slice(), tokensOut: marks.get(number) ?? null });
      });
    }
    return found;
  }

  /** Which of the ids the file holds. Reads the whole table. */
  knownEvents(eventIds: readonly string[]): string[] {
    const wanted = new Set(eventIds);
    const found: string[] = [];
    for (const row of this.db.prepare('SELECT event_id FROM spool').iterate()) {
      const eventId = eventIdText(row['event_id'] as Uint8Array);
      if (wanted.delete(eventId)) found.push(eventId);
      if (wanted.size === 0) break;
    }
    return found;
  }
}

/**
 * The attempts of a journal row.
 * @throws AppError `spool.damaged_row` when its checksum does not fit
 */
export function readBlock(row: Record<string, unknown>): ReturnType<typeof readOpens> {
  const stored = row['body'] as Uint8Array;
  const block = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength);
  if (crc32(block) !== row['crc']) {
    throw damagedRow(`block ${String(row['pos'])} of the journal`);
  }
  return readOpens(block);
}
