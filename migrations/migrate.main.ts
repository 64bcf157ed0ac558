/**
 * Brings the database of `DATABASE_URL` to the current schema, with one role per service, and exits.
 * Run it before the first start of the separate services and after each upgrade; standalone does it
 * by itself. Exit codes: 0 done, 1 failed, 2 no address given.
 */
import { pino } from 'pino';

import { messageOf } from '#libs/kernel';
import { processEnvironment } from '#libs/platform/config';
import { migratePostgres } from '#libs/platform/postgres';

import { POSTGRES_MIGRATIONS } from './index.js';

const url = processEnvironment()['DATABASE_URL'];
if (url === undefined) {
  process.stderr.write('DATABASE_URL is required: the PostgreSQL to migrate\n');
  process.exit(2);
}
try {
  await migratePostgres({
    url,
    migrations: POSTGRES_MIGRATIONS,
    logger: pino(pino.destination(2)),
  });
  process.stdout.write('the database is up to date\n');
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exitCode = 1;
}
