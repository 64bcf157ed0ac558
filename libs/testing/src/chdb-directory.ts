import { mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { SystemRandom } from '#libs/kernel';
import { ClickHouseEngine } from '#libs/platform/clickhouse';

const PREFIX = 'tollgate-test-chdb-';

const random = new SystemRandom();

/**
 * The one data directory of the embedded ClickHouse engine of this process, the same for every spec
 * file that a test worker runs: an engine can have only one open, and it stays open for the life of
 * the process. Directories that dead processes left behind are removed.
 */
export function chdbDirectory(): string {
  const mine = `${PREFIX}${process.pid}-${Math.floor(performance.timeOrigin)}`;
  for (const name of readdirSync(tmpdir())) {
    if (name.startsWith(PREFIX) && name !== mine && !isOwned(name)) removeAlone(name);
  }
  const folder = join(tmpdir(), mine);
  mkdirSync(folder, { recursive: true });
  return folder;
}

/** An embedded engine over a new database of the process's data directory. */
export interface ChdbDatabase {
  readonly engine: ClickHouseEngine;
  /** Drops the database. The sessions of the test are closed before. */
  readonly drop: () => Promise<void>;
}

/** Opens a database of its own for one suite. */
export function openChdbDatabase(): ChdbDatabase {
  const database = `test_${Buffer.from(random.bytes(6)).toString('hex')}`;
  const engine = new ClickHouseEngine({
    target: { kind: 'embedded', dataDir: chdbDirectory() },
    database,
  });
  return { engine, drop: () => dropDatabase(engine) };
}

async function dropDatabase(engine: ClickHouseEngine): Promise<void> {
  const session = engine.session('write');
  try {
    await session.run({ name: 'test.use_default', sql: 'USE default' });
    await session.run({
      name: 'test.drop_database',
      sql: `DROP DATABASE IF EXISTS ${engine.database} SYNC`,
    });
  } finally {
    await session.close();
  }
}

/** Removes a folder that no other process is removing: whoever renames it does. */
function removeAlone(name: string): void {
  const taken = join(tmpdir(), `${PREFIX}${process.pid}-gone-${name.slice(PREFIX.length)}`);
  try {
    renameSync(join(tmpdir(), name), taken);
  } catch {
    return;
  }
  rmSync(taken, { recursive: true, force: true });
}

function isOwned(directory: string): boolean {
  const pid = Number(directory.slice(PREFIX.length).split('-')[0]);
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
