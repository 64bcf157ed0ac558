import 'reflect-metadata';
import { mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { loadCatalog } from '#apps/auth';
import { startSimulator } from '#apps/simulator';
import { AppError, messageOf, SystemClock } from '#libs/kernel';
import { readPeppers, type ServedCatalog } from '#libs/keys/core';
import {
  ConfigError,
  EXIT_CONFIG,
  loadConfig,
  processEnvironment,
  projectRoot,
} from '#libs/platform/config';
import { DataDirectoryLock } from '#libs/platform/postgres';
import { createRuntime, type Runtime } from '#libs/platform/telemetry';

import { openEngines } from './engines.js';
import { callableModel, quickstartKey, quickstartText } from './quickstart.js';
import { loadSecrets } from './secrets.js';
import { createServices, type ServicesInput } from './services.js';
import { StandaloneConfig } from './standalone.config.js';
import { Steps } from './steps.js';
import { trustsUserIdHeader } from './user-id-trust.js';

/** A path that is not there is a fault to list, not one to throw. */
const NO_THROW = { throwIfNoEntry: false } as const;

/** Closes one part of the process. */
type Closer = () => Promise<void> | void;

/** Longest clean-up at shutdown after the requests have drained, milliseconds. */
const CLEANUP_MS = 30_000;

/**
 * Runs the whole product in this process until SIGINT or SIGTERM; a second signal ends it at once.
 * Exit codes: 0 stopped, 1 could not start or stop, 2 faulty configuration.
 */
export async function run(): Promise<void> {
  const steps = new Steps(new SystemClock());
  try {
    const config = loadConfig(StandaloneConfig, processEnvironment(), { ownPrefixes: ['SPOOL_'] });
    const closers: Closer[] = [];
    const closeAll = (): Promise<void> => closeEach(closers.splice(0).toReversed());
    // Before anything opens: a start that is broken off closes what it had opened.
    stopOnSignal(closeAll, config.drainSeconds * 1_000 + CLEANUP_MS, steps);
    await start(config, steps, closers).catch(async (error: unknown) => {
      await closeAll();
      throw error;
    });
  } catch (error) {
    process.stderr.write(`tollgate: ${messageOf(error)}\n`);
    process.exit(error instanceof ConfigError ? EXIT_CONFIG : 1);
  }
}

/** @param closers gets what closes each part, in the order in which the parts were opened */
async function start(config: StandaloneConfig, steps: Steps, closers: Closer[]): Promise<void> {
  const trustUserIdHeader = trustsUserIdHeader(config);
  const dataDir = resolve(config.dataDir);
  checkFiles(config);
  // The database's own user passes through; what lies inside is nobody's business but ours.
  mkdirSync(dataDir, { recursive: true, mode: 0o711 });
  const runtime = createRuntime({
    service: 'llm-gateway',
    partitions: config.logPartitions,
    logLevel: config.logLevel,
  });
  const lock = DataDirectoryLock.acquire(dataDir);
  const secrets = loadSecrets(dataDir, config, runtime.random);
  closers.push(() => lock.release());
  const catalog = await openCatalog(config, dataDir, runtime, closers);
  const engines = await openEngines(config, dataDir, runtime, lock, steps);
  closers.push(() => engines.close());
  const input = { config, runtime, secrets, engines, catalog, trustUserIdHeader, closers };
  const url = await serve(input, steps);
  writeFacts(dataDir, url, engines.databaseUrl);
  closers.push(() => rmSync(factsFile(dataDir), { force: true }));
  const key = await quickstartKey(url, dataDir, secrets);
  // Until the ready-made key exists nobody has seen a finished start, hence not the operator key.
  const isFirst = secrets.QUICKSTART_KEY === undefined && config.adminApiKey === null;
  const adminKey = isFirst ? secrets.ADMIN_API_KEY : null;
  welcome(steps, config, url, { key, adminKey }, catalog);
}

/** @throws ConfigError with every fault that the variables alone do not show */
function checkFiles({ keyPeppers, priceSheetsDir }: StandaloneConfig): void {
  const faults: string[] = [];
  if (keyPeppers !== null) {
    faults.push(...readPeppers(keyPeppers).faults.map((fault) => `KEY_PEPPERS ${fault}`));
  }
  const folder = priceSheetsDir === null ? undefined : statSync(priceSheetsDir, NO_THROW);
  if (priceSheetsDir !== null && folder?.isDirectory() !== true) {
    faults.push(`PRICE_SHEETS_DIR ${priceSheetsDir} is not a folder`);
  }
  if (faults.length > 0) throw new ConfigError(faults);
}

/** Closes in the given order; one that fails keeps none of the others open. @throws the first failure */
async function closeEach(closers: readonly Closer[]): Promise<void> {
  const failures: unknown[] = [];
  for (const close of closers) {
    try {
      await close();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}

async function openCatalog(
  config: StandaloneConfig,
  dataDir: string,
  { clock }: Runtime,
  closers: Closer[],
): Promise<ServedCatalog> {
  const file = config.catalogFile ?? join(projectRoot(), 'catalog', 'default.json');
  let simulatorUrl = config.simulatorUrl;
  if (simulatorUrl === null) {
    const logFile = join(dataDir, 'simulator.jsonl');
    const simulator = await startSimulator({ host: '127.0.0.1', port: 0, logFile, clock });
    closers.push(() => simulator.close());
    simulatorUrl = simulator.url;
  }
  return loadCatalog(file, { SIMULATOR_URL: simulatorUrl });
}

interface ServeInput extends Pick<
  ServicesInput,
  'config' | 'runtime' | 'secrets' | 'engines' | 'catalog' | 'trustUserIdHeader'
> {
  readonly closers: Closer[];
}

/** Starts the services and listens. @returns the address */
async function serve(input: ServeInput, steps: Steps): Promise<string> {
  const { config, closers, ...rest } = input;
  const services = await createServices({
    ...rest,
    config,
    priceSheetsDir: config.priceSheetsDir ?? join(projectRoot(), 'prices'),
    environment: processEnvironment(),
  });
  closers.push(() => services.close());
  try {
    return await steps.run('services', () => services.listen());
  } catch (error) {
    throw portFault(error, config) ?? error;
  }
}

/** A clear line for the faults that a newcomer meets; null for any other error. */
function portFault(error: unknown, { host, port }: StandaloneConfig): AppError | null {
  const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined;
  const why: Readonly<Record<string, string>> = {
    EADDRINUSE: `port ${port} on ${host} is in use: set PORT to a free one`,
    EACCES: `port ${port} needs more rights than this user has: set PORT to one above 1023`,
    EADDRNOTAVAIL: `this machine has no address ${host}: set HOST to one it has`,
  };
  const publicMessage = typeof code === 'string' ? why[code] : undefined;
  if (publicMessage === undefined) return null;
  return new AppError({ code: 'standalone.cannot_listen', kind: 'invalid', publicMessage });
}

function factsFile(dataDir: string): string {
  return join(dataDir, 'standalone.json');
}

/** Tells the command line and operators where things are; readable by the owner alone. */
function writeFacts(dataDir: string, url: string, databaseUrl: string): void {
  const facts = JSON.stringify({ url, pid: process.pid, databaseUrl }, null, 2);
  writeFileSync(factsFile(dataDir), `${facts}\n`, { mode: 0o600 });
}

function welcome(
  steps: Steps,
  config: StandaloneConfig,
  url: string,
  keys: { readonly key: string; readonly adminKey: string | null },
  catalog: ServedCatalog,
): void {
  steps.say(`\nTollgate is ready at ${url} (data in ${config.dataDir})`);
  if (trustsUserIdHeader(config)) {
    steps.say(
      'Warning: X-User-ID is believed without a credential (TRUST_X_USER_ID=false ends it).',
    );
  }
  if (keys.adminKey !== null) {
    steps.say(`\nOperator key, shown this once (kept in ${config.dataDir}/secrets.json):`);
    steps.say(`\n  ${keys.adminKey}`);
  }
  const first = callableModel(catalog, processEnvironment());
  if (first !== null) {
    steps.say(quickstartText({ ...first, url, key: keys.key, dataDir: config.dataDir }));
  }
  steps.say('Ctrl-C stops; the next start finds everything again.');
}

function stopOnSignal(stop: () => Promise<void>, patienceMs: number, steps: Steps): void {
  let isStopping = false;
  const onSignal = (): void => {
    if (isStopping) process.exit(1);
    isStopping = true;
    steps.say('\nStopping: running requests may finish; once more to end at once.');
    setTimeout(() => {
      process.stderr.write(`tollgate: not stopped within ${patienceMs} ms\n`);
      process.exit(1);
    }, patienceMs).unref();
    stop().then(
      () => process.exit(0),
      (error: unknown) => {
        process.stderr.write(`tollgate: ${messageOf(error)}\n`);
        process.exit(1);
      },
    );
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
}
