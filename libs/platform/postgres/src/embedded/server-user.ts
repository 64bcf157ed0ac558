import { spawnSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { AppError } from '#libs/kernel';

/** The operating-system user the server runs as, when it is not our own. */
export interface ServerUser {
  readonly uid: number;
  readonly gid: number;
}

/** Accounts that a server may borrow when we are root, best first. PostgreSQL asks for a name. */
const CANDIDATES = ['postgres', 'nobody'];

/**
 * Whom the server runs as: null (ourselves), unless we are root, which PostgreSQL refuses. An
 * existing cluster's owner decides, so that every start picks the same user.
 * @throws AppError `postgres.no_user` when root finds no unprivileged account
 */
export function serverUser(clusterDir: string): ServerUser | null {
  if (process.getuid?.() !== 0) return null;
  const accounts = readAccounts();
  const owner = statSync(clusterDir, { throwIfNoEntry: false });
  const known = accounts.find((account) => account.uid === owner?.uid && account.uid !== 0);
  if (known !== undefined) return known;
  for (const name of CANDIDATES) {
    const account = accounts.find((candidate) => candidate.name === name && candidate.uid > 0);
    if (account !== undefined) return account;
  }
  throw new AppError({
    code: 'postgres.no_user',
    kind: 'internal',
    publicMessage: `PostgreSQL does not run as root and found neither of the users ${CANDIDATES.join(', ')}`,
  });
}

function readAccounts(): { name: string; uid: number; gid: number }[] {
  const accounts = [];
  for (const line of readFileSync('/etc/passwd', 'utf8').split('\n')) {
    const [name, , uid, gid] = line.split(':');
    if (name === undefined || uid === undefined || gid === undefined) continue;
    accounts.push({ name, uid: Number(uid), gid: Number(gid) });
  }
  return accounts;
}

/** Whether the user can enter a directory, asked of the kernel rather than of mode bits. */
export function canEnter(user: ServerUser, directory: string): boolean {
  return succeedsAs(user, 'cd -- "$1"', directory);
}

/** Whether the user can run a program. */
export function canRun(user: ServerUser, program: string): boolean {
  return succeedsAs(user, '"$1" --version >/dev/null 2>&1', program);
}

function succeedsAs(user: ServerUser, script: string, argument: string): boolean {
  const options = { uid: user.uid, gid: user.gid, cwd: '/', stdio: 'ignore', env: {} } as const;
  return spawnSync('/bin/sh', ['-c', script, 'sh', argument], options).status === 0;
}
