import { existsSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

import { AppError, assert } from '#libs/kernel';
import type { LostRange } from '#libs/spool/core';

import { AttemptLedger } from './attempt-ledger.js';
import { ROW_OVERHEAD_BYTES, SpoolFile, type FilePosition } from './spool-file.js';
import { readBlock, readRow } from './spool-reader.js';
import { salvage } from './spool-salvage.js';
import { CREATE_TABLES, DATABASE_FILE, FILE_FORMAT, pragmas } from './spool-schema.js';
import { sqliteFault } from './sqlite-fault.js';
import type { Opening, WriterData } from './writer-protocol.js';

/** The release that fixed a corruption after a WAL reset. @source https://www.sqlite.org/changes.html */
const OLDEST_SQLITE = [3, 51, 3] as const;
/** Above this size the page check would hold up the start for seconds; the rows' CRCs remain. */
const QUICK_CHECK_BYTES = 256 * 1_048_576;

/** An open file and what the request thread needs to know of it. */
export interface OpenedFile {
  readonly file: SpoolFile;
  readonly opening: Omit<Opening, 'hasReserve'>;
}

/**
 * Opens the spool of a directory, creates it when there is none, and salvages a damaged one into a
 * new file under the same identity.
 * @throws AppError `spool.in_use`, `spool.sqlite_too_old`, `spool.unknown_format`
 */
export function openSpoolFile(data: WriterData): OpenedFile {
  mkdirSync(data.directory, { recursive: true, mode: 0o700 });
  try {
    return openOnce(data, []);
  } catch (error) {
    if (!isDamage(error)) throw error;
    const lostRanges = salvage(data);
    return openOnce(data, lostRanges);
  }
}

function isDamage(error: unknown): boolean {
  if (error instanceof AppError) return error.code.startsWith('spool.damaged');
  return sqliteFault(error) === 'damaged';
}

function openOnce(data: WriterData, lostRanges: readonly LostRange[]): OpenedFile {
  const db = connect(join(data.directory, DATABASE_FILE), data.ack);
  try {
    const meta = readMeta(db, data);
    if (!meta.clean) quickCheck(db);
    const state = readState(db, meta.ackedPosition);
    db.exec('UPDATE spool_meta SET clean = 0');
    const file = new SpoolFile(db, state.position);
    const opening = {
      emitterId: Buffer.from(meta.emitterId).toString('hex'),
      lastPosition: file.lastPosition,
      ackedPosition: file.ackedPosition,
      lastSequences: state.position.lastSequences,
      nextAttempt: state.nextAttempt,
      leftOpen: leftOpen(db, file.ledger),
      unpublishedBytes: file.unpublishedBytes,
      sizeBytes: occupiedBytes(db),
      lostRanges,
    };
    return { file, opening };
  } catch (error) {
    db.close();
    throw error;
  }
}

/**
 * A connection with the spool's settings.
 * @throws AppError `spool.in_use` when another process or thread has the file,
 *   `spool.sqlite_too_old`
 */
export function connect(path: string, ack: 'process' | 'fsync'): DatabaseSync {
  const db = new DatabaseSync(path);
  try {
    checkVersion(db);
    db.exec(pragmas(ack));
    return db;
  } catch (error) {
    db.close();
    if (sqliteFault(error) !== 'in_use') throw error;
    throw new AppError({
      code: 'spool.in_use',
      kind: 'conflict',
      publicMessage: 'the spool is in use',
      internalMessage: `another process has opened ${path}`,
      cause: error,
    });
  }
}

function checkVersion(db: DatabaseSync): void {
  const version = String(db.prepare('SELECT sqlite_version() AS version').get()?.['version']);
  const parts = version.split('.').map(Number);
  for (const [index, oldest] of OLDEST_SQLITE.entries()) {
    const part = parts[index] ?? 0;
    if (part > oldest) return;
    if (part === oldest) continue;
    throw new AppError({
      code: 'spool.sqlite_too_old',
      kind: 'internal',
      publicMessage: 'internal error',
      internalMessage: `SQLite ${version} is older than ${OLDEST_SQLITE.join('.')}`,
    });
  }
}

interface Meta {
  readonly emitterId: Uint8Array;
  readonly ackedPosition: number;
  readonly clean: boolean;
}

function readMeta(db: DatabaseSync, data: WriterData): Meta {
  if (db.prepare(`SELECT 1 FROM sqlite_schema WHERE name = 'spool_meta'`).get() === undefined) {
    createTables(db, data.freshEmitterId, data.nowMs);
  }
  const row = db.prepare('SELECT * FROM spool_meta').get();
  if (row === undefined) throw damaged('the file has no identity');
  if (row['format'] !== FILE_FORMAT) {
    throw new AppError({
      code: 'spool.unknown_format',
      kind: 'internal',
      publicMessage: 'internal error',
      internalMessage: `format ${String(row['format'])} of the spool, expected ${FILE_FORMAT}`,
    });
  }
  return {
    emitterId: row['emitter_id'] as Uint8Array,
    ackedPosition: row['acked_pos'] as number,
    clean: row['clean'] === 1,
  };
}

/** Makes an empty spool of the given identity in an empty file. */
export function createTables(db: DatabaseSync, emitterId: Uint8Array, nowMs: number): void {
  assert(emitterId.byteLength === 16, 'an emitter id has 16 bytes');
  db.exec('BEGIN IMMEDIATE');
  db.exec(CREATE_TABLES);
  db.prepare('INSERT INTO spool_meta VALUES (1, ?, ?, ?, 0, 0, 1)').run(
    FILE_FORMAT,
    emitterId,
    nowMs * 1000,
  );
  db.exec('COMMIT');
}

function quickCheck(db: DatabaseSync): void {
  const path = db.location();
  if (path !== null && existsSync(path) && statSync(path).size > QUICK_CHECK_BYTES) return;
  const verdict = db.prepare('PRAGMA quick_check(1)').get()?.['quick_check'];
  if (verdict !== 'ok') throw damaged(`quick_check says: ${String(verdict)}`);
}

function damaged(internalMessage: string): AppError {
  const code = 'spool.damaged_file';
  return new AppError({ code, kind: 'internal', publicMessage: 'internal error', internalMessage });
}

interface State {
  readonly position: FilePosition;
  readonly nextAttempt: number;
}

/** Reads everything the counters need, and on the way checks each row that is still to be published. */
function readState(db: DatabaseSync, ackedPosition: number): State {
  let lastPosition = ackedPosition;
  let unpublishedBytes = 0;
  for (const raw of db
    .prepare('SELECT * FROM spool WHERE pos > ? ORDER BY pos')
    .iterate(ackedPosition)) {
    const row = readRow(raw);
    lastPosition = row.position;
    unpublishedBytes += row.framed.byteLength + ROW_OVERHEAD_BYTES;
  }
  const { ledger, nextAttempt } = readLedger(db);
  const lastSequences = readSequences(db);
  const position = { lastPosition, ackedPosition, lastSequences, ledger, unpublishedBytes };
  return { position, nextAttempt };
}

function readSequences(db: DatabaseSync): Map<number, number> {
  const last = new Map<number, number>();
  const rows = db.prepare(
    `SELECT lane, max(seq) AS seq FROM (
       SELECT lane, max(seq) AS seq FROM spool GROUP BY lane
       UNION ALL SELECT lane, trimmed_seq FROM spool_lane) GROUP BY lane`,
  );
  for (const row of rows.iterate()) last.set(row['lane'] as number, row['seq'] as number);
  return last;
}

function readLedger(db: DatabaseSync): { ledger: AttemptLedger; nextAttempt: number } {
  const ledger = new AttemptLedger();
  let nextAttempt = 1;
  let floor = Number.MAX_SAFE_INTEGER;
  for (const row of db.prepare('SELECT * FROM journal ORDER BY pos').iterate()) {
    const [first, count, spoolPosition] = [row['pos'], row['count'], row['spool_pos']] as number[];
    assert(readBlock(row).length === count, 'a block holds as many attempts as it says');
    ledger.opened(first!, count!, spoolPosition!);
    nextAttempt = first! + count!;
    floor = Math.min(floor, spoolPosition!);
  }
  const closings = db.prepare('SELECT pos, closes FROM spool WHERE pos > ? AND closes > 0');
  for (const row of closings.iterate(floor)) {
    ledger.closed(row['closes'] as number, row['pos'] as number);
    nextAttempt = Math.max(nextAttempt, (row['closes'] as number) + 1);
  }
  return { ledger, nextAttempt };
}

function leftOpen(db: DatabaseSync, ledger: AttemptLedger): Opening['leftOpen'] {
  const left: { requestId: string; attempt: number; number: number }[] = [];
  for (const row of db.prepare('SELECT * FROM journal ORDER BY pos').iterate()) {
    readBlock(row).forEach(({ requestId, attempt }, index) => {
      const number = (row['pos'] as number) + index;
      if (ledger.isOpen(number)) left.push({ requestId, attempt, number });
    });
  }
  return left;
}

/** Bytes of the file that hold something, without free pages. */
export function occupiedBytes(db: DatabaseSync): number {
  const value = (pragma: string): number =>
    Number(Object.values(db.prepare(`PRAGMA ${pragma}`).get() ?? {})[0] ?? 0);
  return (value('page_count') - value('freelist_count')) * value('page_size');
}
