import { DatabaseSync } from 'node:sqlite';

import { AppError, assert } from '#libs/kernel';

import { crcOfMeta } from './record-codec.js';
import { CREATE_TABLES, FILE_FORMAT, PAGE_BYTES, pragmas } from './spool-schema.js';
import { sqliteFault } from './sqlite-fault.js';

/** The release that fixed a corruption after a WAL reset. @source https://www.sqlite.org/changes.html */
const OLDEST_SQLITE = [3, 51, 3] as const;
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

/** What a file says of itself. */
export interface SoundMeta {
  readonly emitterId: Uint8Array;
  readonly ackedPosition: number;
  readonly trimFloor: number;
}

/** Makes an empty spool of the given identity in an empty file. */
export function createTables(db: DatabaseSync, meta: SoundMeta, nowMs: number): void {
  const { emitterId, ackedPosition, trimFloor } = meta;
  assert(emitterId.byteLength === 16, 'an emitter id has 16 bytes');
  const crc = crcOfMeta(FILE_FORMAT, emitterId, ackedPosition, trimFloor);
  const insert = 'INSERT INTO spool_meta VALUES (1, ?, ?, ?, ?, ?, ?, 1)';
  db.exec('BEGIN IMMEDIATE');
  db.exec(CREATE_TABLES);
  db.prepare(insert).run(FILE_FORMAT, emitterId, nowMs * 1000, ackedPosition, trimFloor, crc);
  db.exec('COMMIT; PRAGMA wal_checkpoint(TRUNCATE)');
}

/**
 * The row of a file about itself, with its checksum.
 * @returns null when the checksum does not fit
 * @throws AppError `spool.unknown_format` for a sound row of another format
 */
export function soundMeta(db: DatabaseSync): (SoundMeta & { readonly clean: boolean }) | null {
  const row = db.prepare('SELECT * FROM spool_meta').get();
  const {
    format,
    emitter_id: emitterId,
    acked_pos: ackedPosition,
    trim_floor: trimFloor,
  } = row ?? {};
  if (!(emitterId instanceof Uint8Array) || typeof format !== 'number') return null;
  if (typeof ackedPosition !== 'number' || typeof trimFloor !== 'number') return null;
  if (crcOfMeta(format, emitterId, ackedPosition, trimFloor) !== row?.['crc']) return null;
  if (format === FILE_FORMAT) {
    return { emitterId, ackedPosition, trimFloor, clean: row['clean'] === 1 };
  }
  throw new AppError({
    code: 'spool.unknown_format',
    kind: 'internal',
    publicMessage: 'internal error',
    internalMessage: `format ${format} of the spool, expected ${FILE_FORMAT}`,
  });
}

/** Whether a file is still without any table. */
export function isEmptyFile(db: DatabaseSync): boolean {
  const pages = Object.values(db.prepare('PRAGMA page_count').get() ?? {})[0];
  return Number(pages) <= 1 && schemaOf(db) === '[]';
}

/** Whether a file names exactly our tables, at the pages where a fresh file has them. */
export function hasOurTables(db: DatabaseSync): boolean {
  const model = new DatabaseSync(':memory:');
  model.exec(
    `PRAGMA page_size = ${PAGE_BYTES}; PRAGMA auto_vacuum = INCREMENTAL; ${CREATE_TABLES}`,
  );
  const expected = schemaOf(model);
  model.close();
  return schemaOf(db) === expected;
}

function schemaOf(db: DatabaseSync): string {
  const rows = db.prepare('SELECT type, name, rootpage, sql FROM sqlite_schema ORDER BY name');
  return JSON.stringify(rows.all());
}

/** Bytes of the file that hold something, without free pages. */
export function occupiedBytes(db: DatabaseSync): number {
  const value = (pragma: string): number =>
    Number(Object.values(db.prepare(`PRAGMA ${pragma}`).get() ?? {})[0] ?? 0);
  return (value('page_count') - value('freelist_count')) * value('page_size');
}
