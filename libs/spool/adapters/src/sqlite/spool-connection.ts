import { DatabaseSync } from 'node:sqlite';

import { AppError, assert } from '#libs/kernel';

import { crcOfMeta } from './record-codec.js';
import { CREATE_TABLES, FILE_FORMAT, pragmas } from './spool-schema.js';
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

/** Makes an empty spool of the given identity in an empty file. */
export function createTables(db: DatabaseSync, emitterId: Uint8Array, nowMs: number): void {
  assert(emitterId.byteLength === 16, 'an emitter id has 16 bytes');
  db.exec('BEGIN IMMEDIATE');
  db.exec(CREATE_TABLES);
  db.prepare('INSERT INTO spool_meta VALUES (1, ?, ?, ?, 0, 0, ?, 1)').run(
    FILE_FORMAT,
    emitterId,
    nowMs * 1000,
    crcOfMeta(emitterId, 0, 0),
  );
  db.exec('COMMIT');
}

/** Bytes of the file that hold something, without free pages. */
export function occupiedBytes(db: DatabaseSync): number {
  const value = (pragma: string): number =>
    Number(Object.values(db.prepare(`PRAGMA ${pragma}`).get() ?? {})[0] ?? 0);
  return (value('page_count') - value('freelist_count')) * value('page_size');
}
