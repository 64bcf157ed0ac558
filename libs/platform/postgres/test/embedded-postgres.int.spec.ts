import { spawn, type ChildProcess } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { delay, SystemClock, SystemRandom } from '#libs/kernel';
import { Database, DataDirectoryLock, EmbeddedPostgres } from '#libs/platform/postgres';
import {
  binariesFor,
  installedBinaries,
  isOurPostgres,
} from '../src/embedded/postgres-binaries.js';
import { canRun, serverUser } from '../src/embedded/server-user.js';

const CHILD = fileURLToPath(new URL('leftover.child.js', import.meta.url));
const isRoot = process.getuid?.() === 0;

let directory: string;
let dataDir: string;
const children: ChildProcess[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tollgate-embedded-'));
  chmodSync(directory, 0o711);
  dataDir = join(directory, 'data');
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  if (existsSync(postmasterPid())) {
    // Whatever a failed test left running is stopped the way a start stops it.
    await EmbeddedPostgres.start(options()).then(
      (server) => server.stop(),
      () => undefined,
    );
  }
  rmSync(directory, { recursive: true, force: true });
});

function postmasterPid(): string {
  return join(dataDir, 'postgres/cluster/data/postmaster.pid');
}

function options(): { dataDir: string; clock: SystemClock; random: SystemRandom } {
  return { dataDir, clock: new SystemClock(), random: new SystemRandom() };
}

/** Runs the server in another process, in its own group as a terminal would. */
async function startChild(): Promise<{ child: ChildProcess; pid: number; url: string }> {
  const child = spawn(process.execPath, [CHILD, dataDir], {
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  });
  children.push(child);
  const line = await new Promise<string>((resolve, reject) => {
    child.stdout!.once('data', (chunk: Buffer) => resolve(chunk.toString()));
    child.once('exit', () => reject(new Error('the child ended')));
  });
  return { child, ...(JSON.parse(line) as { pid: number; url: string }) };
}

function isAlive(pid: number): boolean {
  try {
    // A process that ended and waits for its parent is not alive.
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return false;
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  await new Promise<void>((resolve) => child.once('exit', () => resolve()));
}

/** Kills a process once it has begun to make the cluster. @returns whether it had not finished it */
async function isKilledInTheMiddle(): Promise<boolean> {
  const child = spawn(process.execPath, [CHILD, dataDir], { stdio: 'ignore' });
  children.push(child);
  const draft = join(dataDir, `postgres/draft-${child.pid}`);
  const begun = [join(draft, 'data/PG_VERSION'), join(dataDir, 'postgres/cluster')];
  const clock = new SystemClock();
  for (const endMs = clock.monotonicMs() + 60_000; !begun.some(existsSync); await delay(1)) {
    expect(clock.monotonicMs()).toBeLessThan(endMs);
  }
  child.kill('SIGKILL');
  await ended(child);
  return existsSync(draft);
}

async function run(url: string, statement: string): Promise<Record<string, unknown>[]> {
  const database = new Database({ url, schema: null, applicationName: 'spec' });
  try {
    return (await database.query(statement)).rows;
  } finally {
    await database.close();
  }
}

test('data is there after stop and start', async () => {
  const first = await EmbeddedPostgres.start(options());
  await run(first.url, 'CREATE TABLE kept AS SELECT 42 AS answer');
  await first.stop();
  expect(isAlive(first.pid)).toBe(false);
  const second = await EmbeddedPostgres.start(options());
  expect(await run(second.url, 'SELECT answer FROM kept')).toEqual([{ answer: 42 }]);
  await second.stop();
});

test('a second start on one directory ends with one line that names it and the holder', async () => {
  const lock = DataDirectoryLock.acquire(dataDir);
  await expect(EmbeddedPostgres.start(options())).rejects.toMatchObject({
    code: 'data_dir.in_use',
    publicMessage: `the data directory ${dataDir} is in use by process ${process.pid}`,
  });
  lock.release();
  DataDirectoryLock.acquire(dataDir).release();
});

test('Ctrl-C of the terminal does not reach the server', async () => {
  const { child, pid } = await startChild();
  process.kill(-child.pid!, 'SIGINT');
  await ended(child);
  expect(isAlive(pid)).toBe(true);
});

describe('after kill -9 of the parent', () => {
  test('the next start stops the server that was left and finds the data', async () => {
    const { child, pid, url } = await startChild();
    await run(url, 'CREATE TABLE kept AS SELECT 42 AS answer');
    child.kill('SIGKILL');
    await ended(child);
    const server = await EmbeddedPostgres.start(options());
    expect(isAlive(pid)).toBe(false);
    expect(await run(server.url, 'SELECT answer FROM kept')).toEqual([{ answer: 42 }]);
    await server.stop();
  });

  test('a garbled postmaster.pid hides nothing: the server is found and stopped', async () => {
    const { child, pid } = await startChild();
    child.kill('SIGKILL');
    await ended(child);
    writeFileSync(postmasterPid(), 'garbage');
    const server = await EmbeddedPostgres.start(options());
    expect(isAlive(pid)).toBe(false);
    await server.stop();
  });

  test('kill -9 of the server too: it recovers what was committed', async () => {
    const { child, pid, url } = await startChild();
    await run(url, 'CREATE TABLE kept AS SELECT 42 AS answer');
    child.kill('SIGKILL');
    process.kill(pid, 'SIGKILL');
    await ended(child);
    const server = await EmbeddedPostgres.start(options());
    expect(await run(server.url, 'SELECT answer FROM kept')).toEqual([{ answer: 42 }]);
    await server.stop();
  });

  test('in the middle of making the cluster: the next start makes it anew', async () => {
    // A cluster that was whole before anybody looked is not what this is about: then another one.
    for (let attempt = 1; !(await isKilledInTheMiddle()); attempt += 1) {
      await (await EmbeddedPostgres.start(options())).stop();
      dataDir = join(directory, `data-${attempt}`);
    }
    const server = await EmbeddedPostgres.start(options());
    expect(await run(server.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    await server.stop();
  });
});

test('a postmaster.pid that names a living stranger is deleted, the stranger lives', async () => {
  const server = await EmbeddedPostgres.start(options());
  await server.stop();
  const stranger = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], {
    stdio: 'ignore',
  });
  children.push(stranger);
  const pidFile = [
    stranger.pid,
    join(dataDir, 'postgres/cluster/data'),
    0,
    5432,
    '',
    '127.0.0.1',
    '',
  ];
  writeFileSync(postmasterPid(), pidFile.join('\n'));
  const again = await EmbeddedPostgres.start(options());
  expect(isAlive(stranger.pid!)).toBe(true);
  await again.stop();
});

test('the owner is told when the server ends by itself', async () => {
  const reasons: string[] = [];
  const server = await EmbeddedPostgres.start({
    ...options(),
    onUnexpectedExit: (reason) => reasons.push(reason),
  });
  process.kill(server.pid, 'SIGKILL');
  const clock = new SystemClock();
  for (const endMs = clock.monotonicMs() + 60_000; reasons.length === 0; await delay(10)) {
    expect(clock.monotonicMs()).toBeLessThan(endMs);
  }
  expect(reasons).toEqual(['PostgreSQL ended with SIGKILL']);
  await server.stop();
});

test('a directory that the server cannot enter is refused with one line', async () => {
  // Only root runs the server as somebody else; for others there is nobody to be kept out.
  const closed = join(directory, 'closed');
  mkdirSync(closed, { mode: 0o700 });
  dataDir = join(closed, 'data');
  const start = EmbeddedPostgres.start(options());
  if (isRoot) {
    await expect(start).rejects.toMatchObject({
      code: 'data_dir.closed',
      publicMessage: /cannot enter/,
    });
  } else {
    await (await start).stop();
  }
});

test('binaries below a directory that the server cannot enter are copied to where it can', async () => {
  const installed = await installedBinaries();
  const hidden = join(directory, 'hidden');
  mkdirSync(hidden, { mode: 0o700 });
  const version = '18.0.0-spec';
  const packageDir = join(hidden, 'package');
  cpSync(dirname(dirname(installed.postgres)), join(packageDir, 'native'), {
    recursive: true,
    verbatimSymlinks: true,
  });
  writeFileSync(join(packageDir, 'package.json'), JSON.stringify({ version }));
  const closed = {
    initdb: join(packageDir, 'native/bin/initdb'),
    postgres: join(packageDir, 'native/bin/postgres'),
  };
  const ownDir = join(directory, 'postgres');
  mkdirSync(ownDir, { mode: 0o711 });
  const user = serverUser(join(ownDir, 'none'));
  const usable = binariesFor(user, closed, ownDir);
  if (user === null) {
    expect(usable).toEqual(closed);
  } else {
    expect(usable.postgres).toBe(join(ownDir, `bin-${version}`, 'bin/postgres'));
    expect(canRun(user, usable.postgres)).toBe(true);
    expect(isOurPostgres(usable.postgres, ownDir)).toBe(true);
  }
});
