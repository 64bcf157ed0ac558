import { spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, closeSync, mkdirSync, openSync, readFileSync, realpathSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { Client } from 'pg';
import { AppError, delay, type Clock, type Random } from '#libs/kernel';
import { EMBEDDED_NAME, lastLine, openCluster, type Cluster } from './cluster-directory.js';
import { DataDirectoryLock } from './data-directory-lock.js';
import { clearLeftover } from './leftover-server.js';
import { binariesFor, installedBinaries, type PostgresBinaries } from './postgres-binaries.js';
import { canEnter, serverUser, type ServerUser } from './server-user.js';

/** How an embedded server is started. */
export interface EmbeddedPostgresOptions {
  /** Made when missing; the server keeps everything under `<dataDir>/postgres`. */
  readonly dataDir: string;
  readonly clock: Clock;
  readonly random: Random;
  /** The lock of `dataDir` when the caller holds it already; otherwise it is taken and released. */
  readonly lock?: DataDirectoryLock;
  /** Told once when the server ends although nobody stopped it. */
  readonly onUnexpectedExit?: (reason: string) => void;
  /** False gives up durability for speed, for databases that live as long as a test. @default true */
  readonly isDurable?: boolean;
}

/** Sized for a machine with 2 cores and 2 GiB that runs everything else too. */
const SETTINGS: Readonly<Record<string, string>> = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '80',
  shared_buffers: '64MB',
  work_mem: '4MB',
  max_wal_size: '512MB',
  wal_level: 'minimal',
  max_wal_senders: '0',
  max_parallel_workers_per_gather: '0',
  jit: 'off',
  synchronous_commit: 'on',
  fsync: 'on',
  log_min_messages: 'warning',
  log_min_error_statement: 'panic',
  log_timezone: 'UTC',
};
const SPEED_OVER_SAFETY = { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' };
/** A start replays at most `max_wal_size` of log; a slow disk needs a while for that. */
const START_PATIENCE_MS = 300_000;
const POLL_MS = 25;
/** Tries to find a port that nobody takes between our look and the server's bind. */
const PORT_ATTEMPTS = 5;
const STOP_STEPS: readonly (readonly [NodeJS.Signals, number])[] = [
  ['SIGINT', 60_000],
  ['SIGQUIT', 15_000],
  ['SIGKILL', 5_000],
];

/**
 * A PostgreSQL server of our own under a data directory, reached over loopback with a password. It
 * runs in a session of its own, so Ctrl-C reaches only us; it survives our death by kill -9, and the
 * next start on the directory stops it and goes on with its data.
 */
export class EmbeddedPostgres {
  private isStopping = false;
  private readonly exited: Promise<void>;

  private constructor(
    /** URL of the superuser and the database `tollgate`. */
    readonly url: string,
    private readonly child: ChildProcess,
    private readonly lock: DataDirectoryLock | null,
    private readonly options: EmbeddedPostgresOptions,
  ) {
    this.exited = new Promise((ended) => {
      if (hasEnded(child)) ended();
      else child.once('exit', () => ended());
    });
    child.once('exit', (code, signal) => {
      if (!this.isStopping)
        this.options.onUnexpectedExit?.(`PostgreSQL ended with ${code ?? signal}`);
    });
  }

  /** Process id of the server. */
  get pid(): number {
    return this.child.pid!;
  }

  /**
   * Starts the server and waits until it answers.
   * @throws AppError `data_dir.in_use`, `data_dir.closed`, `postgres.no_binaries`,
   *   `postgres.no_user`, `postgres.foreign_server`, `postgres.version`, `postgres.initdb`,
   *   `postgres.start`; each message is one line that says what to do
   */
  static async start(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
    const dataDir = resolve(options.dataDir);
    const ownLock = options.lock === undefined ? DataDirectoryLock.acquire(dataDir) : null;
    try {
      const installed = await installedBinaries();
      const ownDir = join(realpathSync(dataDir), 'postgres');
      const user = serverUser(join(ownDir, 'cluster', 'data'));
      prepareOwnDirectory(ownDir, user, dataDir);
      const binaries = binariesFor(user, installed, ownDir);
      await clearLeftover(join(ownDir, 'cluster', 'data'), ownDir, options.clock);
      const { isDurable = true, random } = options;
      const cluster = await openCluster({ ownDir, binaries, user, random, isDurable });
      const server = new ServerStart(cluster, binaries, user, join(ownDir, 'server.log'), options);
      const { child, url } = await server.run();
      return new EmbeddedPostgres(url, child, ownLock, options);
    } catch (error) {
      ownLock?.release();
      throw error;
    }
  }

  /** Ends all connections, writes a checkpoint, ends the server, releases the directory. Idempotent. */
  async stop(): Promise<void> {
    this.isStopping = true;
    for (const [signal, patienceMs] of STOP_STEPS) {
      if (hasEnded(this.child)) break;
      this.child.kill(signal);
      const patience = new AbortController();
      await Promise.race([this.exited, delay(patienceMs, patience.signal)]);
      patience.abort();
    }
    this.lock?.release();
  }
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

function prepareOwnDirectory(ownDir: string, user: ServerUser | null, dataDir: string): void {
  mkdirSync(ownDir, { recursive: true, mode: 0o700 });
  // Root keeps the directory, so that the server's user cannot plant links where root writes.
  chmodSync(ownDir, user === null ? 0o700 : 0o711);
  if (user === null || canEnter(user, ownDir)) return;
  throw new AppError({
    code: 'data_dir.closed',
    kind: 'invalid',
    publicMessage:
      `PostgreSQL runs as user ${user.uid}, who cannot enter ${dataDir}: ` +
      'choose a data directory below directories that everyone may enter (chmod o+x)',
  });
}

/** One attempt after the other to start a server on a free port. */
class ServerStart {
  constructor(
    private readonly cluster: Cluster,
    private readonly binaries: PostgresBinaries,
    private readonly user: ServerUser | null,
    private readonly logFile: string,
    private readonly options: EmbeddedPostgresOptions,
  ) {}

  async run(): Promise<{ child: ChildProcess; url: string }> {
    for (let attempt = 1; ; attempt += 1) {
      const port = await freePort();
      const child = this.spawnServer(port);
      const url = (database: string): string =>
        `postgres://${EMBEDDED_NAME}:${this.cluster.password}@127.0.0.1:${port}/${database}`;
      if (await this.answers(child, url('postgres'))) {
        return { child, url: url(EMBEDDED_NAME) };
      }
      const log = readFileSync(this.logFile, 'utf8');
      if (attempt < PORT_ATTEMPTS && log.includes('Address already in use')) continue;
      throw new AppError({
        code: 'postgres.start',
        kind: 'internal',
        publicMessage: `PostgreSQL did not start: ${lastLine(log)} (see ${this.logFile})`,
      });
    }
  }

  private spawnServer(port: number): ChildProcess {
    const settings = {
      ...SETTINGS,
      ...(this.options.isDurable === false ? SPEED_OVER_SAFETY : {}),
      port: String(port),
    };
    const args = ['-D', this.cluster.dataDir];
    for (const [name, value] of Object.entries(settings)) args.push('-c', `${name}=${value}`);
    const log = openSync(this.logFile, 'w', 0o600);
    try {
      const child = spawn(this.binaries.postgres, args, {
        ...this.user,
        cwd: this.cluster.dataDir,
        env: { LC_ALL: 'C', TZ: 'UTC' },
        detached: true,
        stdio: ['ignore', log, log],
      });
      child.on('error', () => undefined);
      child.unref();
      return child;
    } finally {
      closeSync(log);
    }
  }

  /** Waits for the server and makes our database; false when the server has ended instead. */
  private async answers(child: ChildProcess, url: string): Promise<boolean> {
    const { clock } = this.options;
    const deadlineMs = clock.monotonicMs() + START_PATIENCE_MS;
    while (child.pid !== undefined && !hasEnded(child) && clock.monotonicMs() < deadlineMs) {
      if (await ensureDatabase(url)) return true;
      await delay(POLL_MS);
    }
    child.kill('SIGINT');
    return false;
  }
}

/** @returns false when the server does not answer yet */
async function ensureDatabase(url: string): Promise<boolean> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 2_000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
  } catch {
    return false;
  }
  try {
    const name = [EMBEDDED_NAME];
    const found = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', name);
    if (found.rowCount === 0) await client.query(`CREATE DATABASE ${EMBEDDED_NAME}`);
    return true;
  } finally {
    await client.end();
  }
}

function freePort(): Promise<number> {
  return new Promise((resolvePort, reject) => {
    const probe = createServer();
    probe.on('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      probe.close(() => resolvePort(port));
    });
  });
}
