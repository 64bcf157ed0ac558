import { failpoint } from '#libs/kernel';

import type { SpoolFile } from './spool-file.js';
import { occupiedBytes } from './spool-connection.js';

/** Rows deleted in one transaction, about 4 ms. */
const SLICE_ROWS = 1_000;
/** How often the time of the acknowledgement is noted; the grain of the retention. */
const NOTE_EVERY_US = 60_000_000;
/** Free pages are given back to the volume only beyond this many (16 MiB): the journal reuses them. */
const SPARE_PAGES = 4_096;

/** How long published events stay readable. */
export interface Retention {
  readonly keepAckedMs: number;
  readonly keepAckedBytes: number;
}

/**
 * Deletes published events that are old enough or too many, never one that is unpublished or that an
 * open attempt still needs.
 */
export class SpoolTrimmer {
  private lastNoteUs: number;
  private notedPosition: number;

  constructor(
    private readonly file: SpoolFile,
    private readonly retention: Retention,
  ) {
    const { db } = file;
    const note = db.prepare('SELECT max(pos) AS pos, max(at_us) AS at_us FROM acknowledged').get();
    this.notedPosition = Number(note?.['pos'] ?? 0);
    this.lastNoteUs = Number(note?.['at_us'] ?? 0);
  }

  /**
   * One slice of work.
   * @returns whether another slice is due at once
   */
  tend(nowMs: number): boolean {
    this.noteAcknowledgement(nowMs * 1000);
    const target = Math.min(
      this.trimTarget(nowMs * 1000),
      this.file.ledger.floor(this.file.ackedPosition),
    );
    const until = Math.min(target, this.file.trimFloor + SLICE_ROWS);
    if (until > this.file.trimFloor) this.deleteUntil(until);
    this.giveBackPages();
    return target > this.file.trimFloor;
  }

  /**
   * From when on every event is in the file, milliseconds UTC; the salvage of a damaged file counts as
   * a deletion; 0 when nothing was ever deleted.
   * @param nowMs the answer when the file does not tell
   */
  keptSince(nowMs: number): number {
    const newest = this.newestDeletedUs();
    if (newest !== null) return newest / 1000;
    return this.file.trimFloor === 0 ? 0 : nowMs;
  }

  private newestDeletedUs(): number | null {
    const { db, trimFloor } = this.file;
    const row = db.prepare('SELECT at_us FROM acknowledged WHERE pos = ?').get(trimFloor);
    return row === undefined ? null : Number(row['at_us']);
  }

  private noteAcknowledgement(nowUs: number): void {
    const { ackedPosition, db } = this.file;
    if (ackedPosition <= this.notedPosition || nowUs - this.lastNoteUs < NOTE_EVERY_US) return;
    this.file.transaction(() => {
      // At the trim floor stands when its last row was written, which `keptSince` needs.
      db.prepare('INSERT OR IGNORE INTO acknowledged VALUES (?, ?)').run(ackedPosition, nowUs);
    });
    this.notedPosition = ackedPosition;
    this.lastNoteUs = nowUs;
  }

  private trimTarget(nowUs: number): number {
    const { db, ackedPosition, unpublishedBytes } = this.file;
    if (ackedPosition <= this.file.trimFloor) return this.file.trimFloor;
    const acknowledgedBytes = occupiedBytes(db) - unpublishedBytes;
    if (acknowledgedBytes > this.retention.keepAckedBytes) return this.file.trimFloor + SLICE_ROWS;
    const old = db
      .prepare('SELECT max(pos) AS pos FROM acknowledged WHERE at_us <= ?')
      .get(nowUs - this.retention.keepAckedMs * 1000);
    return Number(old?.['pos'] ?? 0);
  }

  private deleteUntil(position: number): void {
    const { db } = this.file;
    const deletedUs = this.newestDeletedUs() ?? 0;
    this.file.transaction(() => {
      db.prepare('DELETE FROM acknowledged WHERE pos <= ?').run(position);
      db.prepare(
        'INSERT INTO acknowledged SELECT ?, max(?, coalesce(max(at_us), 0)) FROM spool WHERE pos <= ?',
      ).run(position, deletedUs, position);
      db.prepare(
        `INSERT INTO spool_lane SELECT lane, max(seq) FROM spool WHERE pos <= ? GROUP BY lane
         ON CONFLICT (lane) DO UPDATE SET trimmed_seq = max(trimmed_seq, excluded.trimmed_seq)`,
      ).run(position);
      this.file.storeMeta(position);
      db.prepare('DELETE FROM spool WHERE pos <= ?').run(position);
      failpoint('spool.trim');
    });
    this.file.trimFloor = position;
  }

  private giveBackPages(): void {
    const { db } = this.file;
    const free = Object.values(db.prepare('PRAGMA freelist_count').get() ?? {})[0];
    if (Number(free) > SPARE_PAGES) db.exec('PRAGMA incremental_vacuum(256)');
  }
}
