import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { AppError, delay, type Clock } from '#libs/kernel';
import { isOurPostgres } from './postgres-binaries.js';

/** A process that works in the data directory of a cluster. */
interface ServerProcess {
  readonly pid: number;
  readonly parentPid: number;
  readonly program: string;
}

/** How long a left-over server may take per way of stopping, milliseconds. */
const STOP_STEPS: readonly (readonly [NodeJS.Signals, number])[] = [
  ['SIGINT', 30_000],
  ['SIGQUIT', 10_000],
  ['SIGKILL', 10_000],
];
const POLL_MS = 20;

/**
 * Clears what a killed parent left on a cluster: stops its server, then deletes `postmaster.pid`.
 * Whether a process is such a server is read from the process itself, not from that file, so a
 * missing, stale or garbled file changes nothing. The caller holds the lock of the data directory.
 * @param clusterDir absolute real path of the data directory of the cluster
 * @throws AppError `postgres.foreign_server` when a server that is not ours runs on it
 */
export async function clearLeftover(
  clusterDir: string,
  ownDir: string,
  clock: Clock,
): Promise<void> {
  let left = serversOn(clusterDir);
  const foreign = left.find((server) => !isOurPostgres(server.program, ownDir));
  if (foreign !== undefined) {
    throw new AppError({
      code: 'postgres.foreign_server',
      kind: 'conflict',
      publicMessage: `process ${foreign.pid} (${foreign.program}) runs on ${clusterDir}; stop it first`,
    });
  }
  for (const [signal, patienceMs] of STOP_STEPS) {
    if (left.length === 0) break;
    signalTops(left, signal);
    const deadlineMs = clock.monotonicMs() + patienceMs;
    while (left.length > 0 && clock.monotonicMs() < deadlineMs) {
      await delay(POLL_MS);
      left = serversOn(clusterDir);
    }
  }
  rmSync(join(clusterDir, 'postmaster.pid'), { force: true });
}

/** Signals the postmaster, or backends whose postmaster is gone; SIGKILL goes to all. */
function signalTops(servers: readonly ServerProcess[], signal: NodeJS.Signals): void {
  const pids = new Set(servers.map((server) => server.pid));
  for (const server of servers) {
    const isTop = !pids.has(server.parentPid);
    if (!isTop && signal !== 'SIGKILL') continue;
    try {
      process.kill(server.pid, signal);
    } catch {
      // It has just ended.
    }
  }
}

function serversOn(clusterDir: string): ServerProcess[] {
  return process.platform === 'linux' ? fromProc(clusterDir) : fromPs(clusterDir);
}

/** Linux: every server process has its data directory as working directory. */
function fromProc(clusterDir: string): ServerProcess[] {
  const found: ServerProcess[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      if (readlinkSync(`/proc/${entry}/cwd`) !== clusterDir) continue;
      const program = readlinkSync(`/proc/${entry}/exe`);
      if (!/\/postgres( \(deleted\))?$/.test(program)) continue;
      const afterName = readFileSync(`/proc/${entry}/stat`, 'utf8').split(') ').at(-1)!;
      found.push({ pid: Number(entry), parentPid: Number(afterName.split(' ')[1]), program });
    } catch {
      // The process has ended, or belongs to somebody else and is none of ours.
    }
  }
  return found;
}

/** Elsewhere: the postmaster names its data directory in its arguments. */
function fromPs(clusterDir: string): ServerProcess[] {
  const listing = spawnSync('ps', ['-axww', '-o', 'pid=,ppid=,command='], { encoding: 'utf8' });
  const found: ServerProcess[] = [];
  for (const line of (listing.stdout ?? '').split('\n')) {
    const match = /^\s*(\d+)\s+(\d+)\s+(.+?\/postgres) -D (.+?) -c /.exec(line);
    if (match === null || match[4] !== clusterDir) continue;
    found.push({ pid: Number(match[1]), parentPid: Number(match[2]), program: match[3]! });
  }
  return found;
}
