/**
 * Brings the database of `DATABASE_URL` to the current schema, with one role per service and the
 * topics of the event log, and exits. Run it before the first start of the separate services and
 * after each upgrade; standalone does the same by itself. Safe to repeat. Exit codes: 0 done, 1 failed,
 * 2 faulty configuration.
 */
import { Max, Min } from 'class-validator';
import { pino } from 'pino';

import { productTopics, provisionTopics } from '#libs/event-log/adapters';
import { messageOf } from '#libs/kernel';
import {
  ConfigError,
  EnvInteger,
  EnvUrl,
  EXIT_CONFIG,
  loadConfig,
  processEnvironment,
} from '#libs/platform/config';
import { migratePostgres } from '#libs/platform/postgres';
import { POSTGRES_MIGRATIONS } from '#migrations';

/** What the command needs to know. */
class MigrateConfig {
  @EnvUrl('DATABASE_URL', ['postgres', 'postgresql'], {
    describe: 'the PostgreSQL to migrate; the login may create roles and schemas',
    isSecret: true,
  })
  databaseUrl!: string;

  @EnvInteger('LOG_PARTITIONS', {
    describe: 'partitions of the event log, fixed for the life of a deployment',
    fallback: '12',
  })
  @Min(1)
  @Max(64)
  logPartitions!: number;
}

try {
  const { databaseUrl: url, logPartitions } = loadConfig(MigrateConfig, processEnvironment());
  const logger = pino(pino.destination(2));
  await migratePostgres({ url, migrations: POSTGRES_MIGRATIONS, logger });
  await provisionTopics(url, productTopics(logPartitions));
  process.stdout.write('the database is up to date\n');
} catch (error) {
  process.stderr.write(`migrate: ${messageOf(error)}\n`);
  process.exitCode = error instanceof ConfigError ? EXIT_CONFIG : 1;
}
