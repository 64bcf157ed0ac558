import { spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { AppError, type Random } from '#libs/kernel';
import type { PostgresBinaries } from './postgres-binaries.js';
import type { ServerUser } from './server-user.js';

/** The superuser of an embedded cluster, and the name of its database. */
export const EMBEDDED_NAME = 'tollgate';
/** A cluster belongs to one major version for its life. */
const MAJOR_VERSION = '18';
const PASSWORD_BYTES = 24;

/** A cluster on disk. */
export interface Cluster {
  /** The server's data directory. */
  readonly dataDir: string;
  /** Of the superuser; 48 hex digits. */
  readonly password: string;
}

/** What making a cluster needs. */
export interface ClusterOptions {
  /** The embedded server's own directory, owned by its user. */
  readonly ownDir: string;
  readonly binaries: PostgresBinaries;
  readonly user: ServerUser | null;
  readonly random: Random;
  /** Whether a new cluster is forced to disk before it counts. */
  readonly isDurable: boolean;
}

/**
 * Opens the cluster, making it when there is none. A new one appears by a rename, so one that a
 * crash left half made is never taken for a whole one; it is deleted at the next start.
 * @throws AppError `postgres.version` when another major version made it; `postgres.initdb` when
 *   it cannot be made
 */
export async function openCluster(options: ClusterOptions): Promise<Cluster> {
  for (const name of readdirSync(options.ownDir)) {
    if (name.startsWith('draft-')) rmSync(join(options.ownDir, name), { recursive: true });
  }
  const root = join(options.ownDir, 'cluster');
  if (!existsSync(root)) await makeCluster(root, options);
  const dataDir = join(root, 'data');
  const version = readFileSync(join(dataDir, 'PG_VERSION'), 'utf8').trim();
  if (version !== MAJOR_VERSION) {
    throw new AppError({
      code: 'postgres.version',
      kind: 'conflict',
      publicMessage: `${dataDir} was made by PostgreSQL ${version}; this is ${MAJOR_VERSION}`,
    });
  }
  return { dataDir, password: readFileSync(join(root, 'password'), 'utf8') };
}

async function makeCluster(root: string, options: ClusterOptions): Promise<void> {
  const draft = join(options.ownDir, `draft-${process.pid}`);
  const dataDir = join(draft, 'data');
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  chmodSync(draft, options.user === null ? 0o700 : 0o711);
  const passwordFile = join(draft, 'password');
  const password = Buffer.from(options.random.bytes(PASSWORD_BYTES)).toString('hex');
  writeFileSync(passwordFile, password, { mode: 0o600 });
  if (options.user !== null) {
    chownSync(dataDir, options.user.uid, options.user.gid);
    chownSync(passwordFile, options.user.uid, options.user.gid);
  }
  await runInitdb(dataDir, passwordFile, options);
  if (options.user !== null) chownSync(passwordFile, 0, 0);
  renameSync(draft, root);
}

async function runInitdb(dataDir: string, pwfile: string, options: ClusterOptions): Promise<void> {
  const args = ['-D', dataDir, '-U', EMBEDDED_NAME, `--pwfile=${pwfile}`, '--auth=scram-sha-256'];
  args.push(
    '--encoding=UTF8',
    '--locale=C',
    '--locale-provider=builtin',
    '--builtin-locale=C.UTF-8',
  );
  args.push('--no-instructions');
  if (!options.isDurable) args.push('--no-sync');
  const child = spawn(options.binaries.initdb, args, {
    ...options.user,
    cwd: dataDir,
    env: { LC_ALL: 'C', PATH: '/usr/bin:/bin' },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const status = await new Promise<number | string | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve(code ?? signal));
  });
  if (status === 0) return;
  throw new AppError({
    code: 'postgres.initdb',
    kind: 'internal',
    publicMessage: `PostgreSQL could not make a database in ${dataDir}: ${lastLine(output)}`,
    internalMessage: `initdb ended with ${status}: ${output}`,
  });
}

/** The last line that says something. */
export function lastLine(text: string): string {
  return text.trim().split('\n').at(-1) ?? '';
}
