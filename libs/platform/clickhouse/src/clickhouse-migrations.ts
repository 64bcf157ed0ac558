import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { assert } from '#libs/kernel';
import { projectRoot } from '#libs/platform/config';

import type { ClickHouseEngine } from './clickhouse-engine.js';
import type { ClickHouseSession } from './clickhouse-session.js';

/** One file of statements, each safe to run again. */
export interface ClickHouseMigration {
  /** `0001_create_raw_usage_v1` */
  readonly name: string;
  readonly statements: readonly string[];
}

const FILE_NAME = /^(\d{4})_[a-z0-9_]+\.sql$/;

/** The folder of the SQL files, the same from sources, compiled output and an image. */
export function clickHouseMigrationsDir(): string {
  return join(projectRoot(), 'migrations', 'clickhouse');
}

/** Reads the migrations of a folder in the order of their numbers, which start at 1 without gaps. */
export async function readClickHouseMigrations(
  folder: string,
): Promise<readonly ClickHouseMigration[]> {
  const files = (await readdir(folder)).filter((file) => file.endsWith('.sql')).toSorted();
  return Promise.all(
    files.map(async (file, index) => {
      const number = FILE_NAME.exec(file)?.[1];
      assert(Number(number) === index + 1, `${file} is not migration number ${index + 1}`);
      const text = await readFile(join(folder, file), 'utf8');
      return { name: file.slice(0, -'.sql'.length), statements: statementsOf(text) };
    }),
  );
}

/** Statements end with a semicolon at the end of a line; lines that begin with `--` are comments. */
function statementsOf(text: string): readonly string[] {
  return text
    .split('\n')
    .filter((line) => !line.trimStart().startsWith('--'))
    .join('\n')
    .split(/;[ \t]*(?:\n|$)/)
    .map((statement) => statement.trim())
    .filter((statement) => statement !== '');
}

/**
 * Creates the database and what is missing in it. Idempotent: every statement is.
 * @param session a write session of the engine
 * @throws AppError `clickhouse.failed`
 */
export async function migrateClickHouse(
  engine: ClickHouseEngine,
  session: ClickHouseSession,
  migrations: readonly ClickHouseMigration[],
): Promise<void> {
  await engine.createDatabase();
  for (const migration of migrations) {
    for (const sql of migration.statements) await session.run({ name: migration.name, sql });
  }
}
