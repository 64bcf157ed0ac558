import { spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { SystemClock, SystemRandom } from '#libs/kernel';
import {
  Database,
  EmbeddedPostgres,
  migratePostgres,
  type PostgresMigrations,
  type SchemaName,
} from '#libs/platform/postgres';

/** A database of its own for one test file. */
export interface TestPostgres {
  /** Login of the superuser to this database. */
  readonly url: string;
  /** A pool that acts as the schema's role; null acts as the superuser. Closed by `stop`. */
  database(schema: SchemaName | null): Database;
  /** Closes the pools and removes the database; the last one stops the server and its files. */
  stop(): Promise<void>;
}

/** A server that the test files of one module registry share. */
interface SharedServer {
  readonly server: EmbeddedPostgres;
  readonly directory: string;
  readonly watchdog: ChildProcess;
}

/** Nothing but a shell: it outlives a killed test process and removes what that left behind. */
const WATCHDOG = 'read _; kill -QUIT "$1"; sleep 1; rm -rf "$2"';

let shared: Promise<SharedServer> | undefined;
let users = 0;
let created = 0;
const templates = new Map<PostgresMigrations, Promise<string>>();

/**
 * Makes a fresh database on a real PostgreSQL server, which the first call of a test file starts
 * (about one second; later calls take about 50 ms). Durability is off.
 * @param migrations applied to the database; none when left out
 */
export async function startTestPostgres(
  options: { readonly migrations?: PostgresMigrations } = {},
): Promise<TestPostgres> {
  users += 1;
  shared ??= startServer();
  const { server } = await shared;
  created += 1;
  const name = `test_${created}`;
  if (options.migrations === undefined) {
    await administer(server.url, `CREATE DATABASE ${name}`);
  } else {
    const template = await templateOf(server.url, options.migrations);
    await administer(server.url, `CREATE DATABASE ${name} TEMPLATE ${template}`);
  }
  return testDatabase(withDatabase(server.url, name), server.url, name);
}

function testDatabase(url: string, adminUrl: string, name: string): TestPostgres {
  const pools: Database[] = [];
  let stopped: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    await Promise.all(pools.map((pool) => pool.close()));
    users -= 1;
    if (users === 0) await stopServer();
    else await administer(adminUrl, `DROP DATABASE ${name} WITH (FORCE)`);
  };
  return {
    url,
    database: (schema) => {
      const pool = new Database({ url, schema, applicationName: 'test', maxConnections: 5 });
      pools.push(pool);
      return pool;
    },
    stop: () => (stopped ??= stop()),
  };
}

async function startServer(): Promise<SharedServer> {
  const directory = mkdtempSync(join(tmpdir(), 'tollgate-test-'));
  // The server of a root's test runs as another user, who has to get in.
  chmodSync(directory, 0o711);
  const server = await EmbeddedPostgres.start({
    dataDir: directory,
    clock: new SystemClock(),
    random: new SystemRandom(),
    isDurable: false,
  });
  const watchdog = spawn('/bin/sh', ['-c', WATCHDOG, 'sh', String(server.pid), directory], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  watchdog.unref();
  return { server, directory, watchdog };
}

async function stopServer(): Promise<void> {
  const running = await shared!;
  shared = undefined;
  templates.clear();
  running.watchdog.kill('SIGKILL');
  running.watchdog.stdin?.destroy();
  await running.server.stop();
  rmSync(running.directory, { recursive: true, force: true });
}

function templateOf(serverUrl: string, migrations: PostgresMigrations): Promise<string> {
  let template = templates.get(migrations);
  if (template === undefined) {
    template = makeTemplate(serverUrl, `template_${templates.size + 1}`, migrations);
    templates.set(migrations, template);
  }
  return template;
}

async function makeTemplate(
  serverUrl: string,
  name: string,
  migrations: PostgresMigrations,
): Promise<string> {
  await administer(serverUrl, `CREATE DATABASE ${name}`);
  const logger = { info: () => undefined };
  await migratePostgres({ url: withDatabase(serverUrl, name), migrations, logger });
  return name;
}

async function administer(url: string, statement: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

function withDatabase(url: string, name: string): string {
  const changed = new URL(url);
  changed.pathname = `/${name}`;
  return changed.toString();
}
