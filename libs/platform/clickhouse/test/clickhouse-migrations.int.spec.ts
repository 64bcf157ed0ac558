import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, expect, test } from '@jest/globals';

import { clickHouseMigrationsDir, readClickHouseMigrations } from '#libs/platform/clickhouse';

const folder = mkdtempSync(join(tmpdir(), 'tollgate-sql-'));

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Changes of tables that may be there already, and data that a mark keeps from being written again. */
const REPEATABLE =
  /^(CREATE|ALTER|DROP) [^;]*\bIF (NOT )?EXISTS\b|^INSERT INTO [^;]*\(SELECT count\(\) FROM \w+ WHERE [^)]*\) = 0/s;

test('every released file says what it is for and can be run again', async () => {
  const migrations = await readClickHouseMigrations(clickHouseMigrationsDir());
  expect(migrations.length).toBeGreaterThan(0);
  for (const { name, statements } of migrations) {
    const text = readFileSync(join(clickHouseMigrationsDir(), `${name}.sql`), 'utf8');
    const creates = statements.some((statement) => statement.startsWith('CREATE'));
    const ofTables = creates ? ['Grain', 'Key', 'Size', 'Readers', 'Retention'] : [];
    for (const word of ['Purpose', ...ofTables]) {
      expect(text).toMatch(new RegExp(`^-- ${word}: +\\S`, 'm'));
    }
    for (const statement of statements) expect(statement).toMatch(REPEATABLE);
  }
});

test('statements are split at line ends and comments left out', async () => {
  writeFileSync(
    join(folder, '0001_one.sql'),
    "-- a comment; with a semicolon\nSELECT 1;\n\nSELECT ';'\n  -- inside\n  , 2;\n",
  );
  expect(await readClickHouseMigrations(folder)).toEqual([
    { name: '0001_one', statements: ['SELECT 1', "SELECT ';'\n  , 2"] },
  ]);
});

test('a gap or a repeated number is refused', async () => {
  writeFileSync(join(folder, '0003_three.sql'), 'SELECT 3;\n');
  await expect(readClickHouseMigrations(folder)).rejects.toMatchObject({
    code: 'internal.assertion',
  });
});
