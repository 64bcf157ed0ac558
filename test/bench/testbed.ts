import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { productTopics, provisionTopics } from '#libs/event-log/adapters';
import { SystemClock, SystemRandom } from '#libs/kernel';
import { EmbeddedPostgres, migratePostgres } from '#libs/platform/postgres';
import { eventually } from '#libs/testing';
import { POSTGRES_MIGRATIONS } from '#migrations';

import { startNginx } from './nginx.js';
import { PinnedProcess } from './pinned-process.js';
import type { Subject } from './subject.js';
import { benchCatalog, benchPrices } from './traffic.js';

/** The core of what is measured, and the core of everything else. */
export const CORES = { measured: 1, rest: 0 } as const;

const DIST = join(import.meta.dirname, '..', '..');
const OPERATOR = 'operator-secret-of-the-bench';
const CREDENTIAL = 'credential-of-the-bench';
/** As a deployment of its own has. */
const LOG_PARTITIONS = 12;
/** A budget that no run exhausts, dollars. */
const BUDGET_USD = 1_000_000;

/** Everything a run needs, started and warm enough to be asked. */
export interface Testbed {
  readonly folder: string;
  readonly subjects: readonly Subject[];
  /** Events that the proxy has not yet published. */
  backlog(): Promise<number>;
  stop(): Promise<void>;
}

/**
 * Starts the engines and all processes. The calling process must already be pinned to
 * `CORES.rest`: what it starts inherits that, but for what is measured.
 * @param profileDir where the proxy leaves CPU profiles of its threads; null = it makes none
 */
export async function startTestbed(
  profileDir: string | null,
  say: (line: string) => void,
): Promise<Testbed> {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-bench-'));
  // As root the embedded database runs as another user, who must be able to pass through.
  chmodSync(folder, 0o711);
  const stops: (() => Promise<void> | void)[] = [
    () => rmSync(folder, { recursive: true, force: true }),
  ];
  const stop = async (): Promise<void> => {
    for (const step of stops.splice(0).toReversed()) await step();
  };
  // Ctrl-C reaches what runs in our group, but not the database, which has a session of its own.
  const onSignal = (): void => void stop().finally(() => process.exit(1));
  process.once('SIGINT', onSignal);
  process.once('SIGTERM', onSignal);
  try {
    const subjects = await startSubjects(folder, profileDir, stops, say);
    const proxyUrl = subjects.find(({ name }) => name === 'governed')!.url;
    return { folder, subjects, backlog: () => backlogOf(proxyUrl), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startSubjects(
  folder: string,
  profileDir: string | null,
  stops: (() => Promise<void> | void)[],
  say: (line: string) => void,
): Promise<Subject[]> {
  const start = async (
    name: string,
    core: number,
    command: readonly string[],
    env: Readonly<Record<string, string>>,
  ): Promise<{ readonly url: string; readonly pids: readonly number[] }> => {
    const { process, url } = await PinnedProcess.start(name, core, command, env);
    stops.push(() => process.stop());
    say(`${name} at ${url}`);
    return { url, pids: [process.pid] };
  };
  const databaseUrl = await startPostgres(folder, stops);
  say('PostgreSQL is up and migrated');
  const upstream = await start('simulator', CORES.rest, [entryOf('simulator')], {
    SIMULATOR_PORT: '0',
  });
  const common = serviceEnv(folder, databaseUrl, upstream.url);
  const budget = await start('budget-enforcer', CORES.rest, [entryOf('budget-enforcer')], common);
  const known = { ...common, BUDGET_URL: budget.url };
  const auth = await start('auth', CORES.rest, [entryOf('auth')], known);
  const flags = profileDir === null ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileDir}`];
  const proxy = await start('proxy', CORES.measured, [...flags, entryOf('proxy')], {
    ...known,
    AUTH_URL: auth.url,
    SPOOL_DIR: join(folder, 'spool'),
    BENCH_CREDENTIAL: CREDENTIAL,
  });
  const run = join(import.meta.dirname, 'run.js');
  const ungoverned = await start(
    'ungoverned',
    CORES.measured,
    [run, 'ungoverned-proxy', upstream.url],
    {},
  );
  const nginx = await startNginx(
    join(folder, 'nginx'),
    await freePort(),
    upstream.url,
    CORES.measured,
  );
  stops.push(() => nginx.stop());
  const plainKey = await createKey(auth.url, {});
  const budgetedKey = await createKey(auth.url, { max_budget: BUDGET_USD });
  await eventually(() => isReady(proxy.url), { deadlineMs: 30_000 });
  const bare = `Bearer ${CREDENTIAL}`;
  return [
    { name: 'direct', ...upstream, authorization: bare },
    { name: 'nginx', url: nginx.url, pids: nginx.pids, authorization: bare },
    { name: 'ungoverned', ...ungoverned, authorization: bare },
    { name: 'governed', ...proxy, authorization: `Bearer ${plainKey}` },
    { name: 'budgeted', ...proxy, authorization: `Bearer ${budgetedKey}` },
  ];
}

function entryOf(app: string): string {
  return join(DIST, 'apps', app, 'src', 'main.js');
}

async function startPostgres(
  folder: string,
  stops: (() => Promise<void> | void)[],
): Promise<string> {
  const server = await EmbeddedPostgres.start({
    dataDir: join(folder, 'data'),
    clock: new SystemClock(),
    random: new SystemRandom(),
  });
  stops.push(() => server.stop());
  const logger = { info: () => undefined };
  await migratePostgres({ url: server.url, migrations: POSTGRES_MIGRATIONS, logger });
  await provisionTopics(server.url, productTopics(LOG_PARTITIONS));
  return server.url;
}

function serviceEnv(
  folder: string,
  databaseUrl: string,
  simulatorUrl: string,
): Record<string, string> {
  const catalogFile = join(folder, 'catalog.json');
  const pricesDir = join(folder, 'prices');
  mkdirSync(pricesDir);
  writeFileSync(catalogFile, benchCatalog());
  writeFileSync(join(pricesDir, 'simulator.json'), benchPrices());
  return {
    PORT: '0',
    DATABASE_URL: databaseUrl,
    SERVICE_SECRET: 'service-secret-of-the-bench',
    KEY_PEPPERS: `v1:${Buffer.alloc(32, 1).toString('base64')}`,
    ADMIN_API_KEY: OPERATOR,
    LOG_PARTITIONS: String(LOG_PARTITIONS),
    LOG_LEVEL: 'warn',
    CATALOG_FILE: catalogFile,
    PRICE_SHEETS_DIR: pricesDir,
    SIMULATOR_URL: simulatorUrl,
  };
}

/** A new key of the operator's. @returns what callers present */
async function createKey(authUrl: string, members: Record<string, unknown>): Promise<string> {
  const response = await fetch(`${authUrl}/api/keys`, {
    method: 'POST',
    headers: { authorization: `ADMIN ${OPERATOR}`, 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'bench', ...members }),
  });
  const text = await response.text();
  if (response.status !== 201) throw new Error(`no key was made: ${response.status} ${text}`);
  return (JSON.parse(text) as { key: string }).key;
}

async function isReady(url: string): Promise<boolean> {
  const response = await fetch(`${url}/health/ready`);
  await response.arrayBuffer();
  return response.status === 200;
}

async function backlogOf(proxyUrl: string): Promise<number> {
  const response = await fetch(`${proxyUrl}/metrics`);
  const line = /^spool_rows (\d+)$/m.exec(await response.text());
  if (line === null) throw new Error('the proxy does not tell its backlog');
  return Number(line[1]);
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
