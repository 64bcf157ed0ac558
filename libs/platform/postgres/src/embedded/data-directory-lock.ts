import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { AppError } from '#libs/kernel';

/** Primary result code of a file that another connection has locked. @source sqlite.org/rescode.html */
const SQLITE_BUSY = 5;

/**
 * The exclusive right to a data directory. The kernel takes it back with the process, however that
 * ends: it is a lock on the file `lock.sqlite`, not the existence of a file.
 */
export class DataDirectoryLock {
  private constructor(
    private readonly database: DatabaseSync,
    private readonly pidFile: string,
  ) {}

  /**
   * Takes the directory, which is made when it is missing.
   * @throws AppError `data_dir.in_use` when another process, or this one, holds it
   */
  static acquire(dataDir: string): DataDirectoryLock {
    mkdirSync(dataDir, { recursive: true, mode: 0o755 });
    const pidFile = join(dataDir, 'lock.pid');
    const database = new DatabaseSync(join(dataDir, 'lock.sqlite'), { timeout: 0 });
    try {
      database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = MEMORY;');
      database.exec('BEGIN EXCLUSIVE; CREATE TABLE IF NOT EXISTS held (id INTEGER); COMMIT;');
    } catch (error) {
      database.close();
      if (isBusy(error)) throw inUse(dataDir, pidFile, error);
      throw error;
    }
    writeFileSync(pidFile, String(process.pid));
    return new DataDirectoryLock(database, pidFile);
  }

  /** Gives the directory back. Idempotent. */
  release(): void {
    if (!this.database.isOpen) return;
    rmSync(this.pidFile, { force: true });
    this.database.close();
  }
}

function isBusy(error: unknown): boolean {
  const code = (error as { readonly errcode?: unknown } | null)?.errcode;
  return typeof code === 'number' && (code & 0xff) === SQLITE_BUSY;
}

function inUse(dataDir: string, pidFile: string, cause: unknown): AppError {
  let holder = 'another process';
  try {
    const pid = readFileSync(pidFile, 'utf8').trim();
    if (/^\d{1,10}$/.test(pid)) holder = `process ${pid}`;
  } catch {
    // The holder is about to write it, or has just left.
  }
  return new AppError({
    code: 'data_dir.in_use',
    kind: 'conflict',
    publicMessage: `the data directory ${dataDir} is in use by ${holder}`,
    cause,
  });
}
