import { Client } from 'pg';
import type { Logger } from 'pino';
import { DataSource, type Logger as TypeOrmLogger } from 'typeorm';
import { AppError, messageOf } from '#libs/kernel';
import { sqlState } from './database.js';
import { roleOf, SCHEMAS, type SchemaName } from './schemas.js';
import type { SqlMigration } from './sql-migration.js';

/** Migration classes per schema in rising number; a schema without migrations is created empty. */
export type PostgresMigrations = Readonly<
  Partial<Record<SchemaName, readonly (new () => SqlMigration)[]>>
>;

/** What a migration run needs. */
export interface MigratePostgresOptions {
  /** A login that may create roles and schemas. */
  readonly url: string;
  readonly migrations: PostgresMigrations;
  readonly logger: Pick<Logger, 'info'>;
}

/** Advisory lock that serialises migrations of one database; the digits have no meaning. */
const MIGRATION_LOCK = 7_021_511_403;
/** Longest wait for another process that migrates, milliseconds. */
const LOCK_WAIT_MS = 120_000;
/** SQLSTATEs of two sessions that create the same role of the cluster at once. */
const ROLE_RACES = new Set(['42710', '23505', 'XX000']);
const ROLE_ATTEMPTS = 5;

/** TypeORM prints failures on its own otherwise; ours carry them. */
const SILENT: TypeOrmLogger = {
  logQuery: () => undefined,
  logQueryError: () => undefined,
  logQuerySlow: () => undefined,
  logSchemaBuild: () => undefined,
  logMigration: () => undefined,
  log: () => undefined,
};

/**
 * Brings a database to the current schema: roles, schemas, migrations, grants. Idempotent, and safe
 * when several processes start at once: one works, the others wait and find nothing to do.
 * @throws AppError `postgres.migration_failed` naming the schema; what came before it stays
 */
export async function migratePostgres(options: MigratePostgresOptions): Promise<void> {
  const client = new Client({
    connectionString: options.url,
    application_name: 'tollgate-migrate',
    connectionTimeoutMillis: 10_000,
    lock_timeout: LOCK_WAIT_MS,
  });
  await client.connect();
  try {
    await client.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK]);
    await createRoles(client);
    for (const schema of SCHEMAS) {
      await createSchema(client, schema);
      await migrateSchema(schema, options);
    }
  } finally {
    // The end of the session frees the lock.
    await client.end();
  }
}

/** Roles belong to the cluster, the lock to one database: another database may race us. */
async function createRoles(client: Client): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      for (const schema of SCHEMAS) await createRole(client, roleOf(schema));
      return;
    } catch (error) {
      if (attempt >= ROLE_ATTEMPTS || !ROLE_RACES.has(sqlState(error) ?? '')) throw error;
    }
  }
}

async function createRole(client: Client, role: string): Promise<void> {
  await client.query(`DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '${role}') THEN
      CREATE ROLE ${role} NOLOGIN;
    END IF;
    IF NOT pg_has_role(current_user, '${role}', 'MEMBER')
       OR NOT pg_has_role(current_user, '${role}', 'USAGE') THEN
      EXECUTE format('GRANT ${role} TO %I', current_user);
    END IF;
  END $$`);
}

/**
 * Each service role may do everything in its own schema, also in tables that come later, and may
 * call what `event_log` grants it; nobody else may do anything. Rights come as default privileges
 * before the tables, so that a migration can take some away for good.
 *
 * The schema of the event log belongs to its role, so that its SECURITY DEFINER functions run with
 * that role's rights and nothing more; the others belong to the login that migrates.
 */
async function createSchema(client: Client, schema: SchemaName): Promise<void> {
  const role = roleOf(schema);
  if (schema === 'event_log') {
    const services = SCHEMAS.filter((name) => name !== schema && name !== 'jobs')
      .map(roleOf)
      .join(', ');
    await client.query(`CREATE SCHEMA IF NOT EXISTS event_log AUTHORIZATION ${role}`);
    await client.query(`GRANT USAGE ON SCHEMA event_log TO ${services}`);
    return;
  }
  await client.query(`
    CREATE SCHEMA IF NOT EXISTS ${schema};
    REVOKE ALL ON SCHEMA ${schema} FROM PUBLIC;
    GRANT USAGE, CREATE ON SCHEMA ${schema} TO ${role};
    ALTER DEFAULT PRIVILEGES IN SCHEMA ${schema} GRANT ALL ON TABLES TO ${role};
    ALTER DEFAULT PRIVILEGES IN SCHEMA ${schema} GRANT ALL ON SEQUENCES TO ${role};
    ALTER DEFAULT PRIVILEGES IN SCHEMA ${schema} GRANT EXECUTE ON FUNCTIONS TO ${role};
  `);
}

async function migrateSchema(schema: SchemaName, options: MigratePostgresOptions): Promise<void> {
  const migrations = options.migrations[schema] ?? [];
  if (migrations.length === 0) return;
  const role = schema === 'event_log' ? ` -c role=${roleOf(schema)}` : '';
  const source = new DataSource({
    type: 'postgres',
    url: options.url,
    schema,
    applicationName: 'tollgate-migrate',
    migrations: [...migrations],
    migrationsTableName: 'schema_migration',
    migrationsTransactionMode: 'each',
    installExtensions: false,
    logger: SILENT,
    extra: { max: 1, options: `-c search_path=${schema} -c timezone=UTC${role}` },
  });
  await source.initialize();
  try {
    const done = await source.runMigrations().catch((error: unknown) => {
      throw failed(schema, error);
    });
    for (const migration of done) {
      options.logger.info({ schema, migration: migration.name }, 'migration applied');
    }
  } finally {
    await source.destroy();
  }
}

function failed(schema: SchemaName, cause: unknown): AppError {
  const position =
    cause instanceof Error && 'position' in cause ? ` at character ${String(cause.position)}` : '';
  return new AppError({
    code: 'postgres.migration_failed',
    kind: 'internal',
    publicMessage: `a migration of schema ${schema} failed: ${messageOf(cause)}${position}`,
  });
}
