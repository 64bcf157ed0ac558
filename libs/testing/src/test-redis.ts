import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { messageOf } from '#libs/kernel';
import { processEnvironment } from '#libs/platform/config';

import { EngineProcess, watchOver } from './engine-process.js';
import { stablePorts } from './stable-ports.js';

const run = promisify(execFile);

/** A running Redis, empty when we started it. */
export interface TestRedis {
  readonly url: string;
  /** Null when `REDIS_URL` names one that we did not start. */
  readonly process: Pick<EngineProcess, 'kill' | 'start' | 'pause' | 'resume'> | null;
  /** Ends it. Idempotent. */
  stop(): Promise<void>;
}

/**
 * Starts `redis-server` without persistence on a free loopback port, or uses `REDIS_URL`. As root on
 * Debian it installs the package of that name when the program is missing.
 * @throws Error in one line that names what is missing
 */
export async function startTestRedis(
  options: { readonly isOwn?: boolean } = {},
): Promise<TestRedis> {
  const { REDIS_URL: given } = processEnvironment();
  if (given !== undefined && given !== '' && options.isOwn !== true) {
    return { url: given, process: null, stop: async () => undefined };
  }
  await findRedis();
  const [port] = await stablePorts(1);
  const directory = mkdtempSync(join(tmpdir(), 'tollgate-test-redis-'));
  const callOff = watchOver(directory);
  const settings = ['--port', String(port), '--bind', '127.0.0.1', '--dir', directory];
  const engine = new EngineProcess({
    name: 'redis-server',
    command: 'redis-server',
    args: [...settings, '--save', '', '--appendonly', 'no', '--maxmemory-policy', 'noeviction'],
    directory,
    probe: () => ping(port!),
  });
  const stop = async (): Promise<void> => {
    await engine.kill();
    callOff();
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    await engine.start();
  } catch (error) {
    await stop();
    throw error;
  }
  let stopped: Promise<void> | undefined;
  return { url: `redis://127.0.0.1:${port}`, process: engine, stop: () => (stopped ??= stop()) };
}

async function findRedis(): Promise<void> {
  if (await isThere()) return;
  if (process.getuid?.() === 0) {
    try {
      await run('apt-get', ['install', '-y', '-q', '--no-install-recommends', 'redis-server']);
    } catch (error) {
      throw new Error(`redis-server cannot be had: ${messageOf(error).split('\n')[0]}`, {
        cause: error,
      });
    }
    if (await isThere()) return;
  }
  throw new Error('redis-server is missing: install Redis, or set REDIS_URL');
}

async function isThere(): Promise<boolean> {
  try {
    await run('redis-server', ['--version']);
    return true;
  } catch {
    return false;
  }
}

function ping(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write('PING\r\n'));
    socket.setTimeout(1_000, () => socket.destroy(new Error('no answer')));
    socket.once('error', reject);
    socket.once('data', (answer) => {
      socket.destroy();
      if (answer.toString().startsWith('+PONG')) resolve();
      else reject(new Error(answer.toString().trim()));
    });
  });
}
