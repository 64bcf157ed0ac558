import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { processEnvironment } from '#libs/platform/config';

import type { ChdbFrontArguments } from './chdb-front.process.js';
import { EngineProcess, watchOver } from './engine-process.js';
import { stablePorts } from './stable-ports.js';

/** A ClickHouse over HTTP. */
export interface TestClickHouse {
  readonly url: string;
  /** Null when `CLICKHOUSE_URL` names a server that we did not start. */
  readonly process: TestClickHouseProcess | null;
  /** Ends it and removes its data. Idempotent. */
  stop(): Promise<void>;
}

/** The process behind it: `kill` is kill -9, `start` goes on with the same data on the same port. */
export interface TestClickHouseProcess extends Pick<
  EngineProcess,
  'kill' | 'start' | 'pause' | 'resume'
> {
  /** Process id of the latest start. */
  readonly pid: number;
  readonly port: number;
  /** Where the engine keeps its files. */
  readonly dataDir: string;
}

/** What a test needs of ClickHouse. */
export interface TestClickHouseOptions {
  /** The test kills it, so that a shared one cannot serve. @default false */
  readonly isOwn?: boolean;
  /** Added to the environment of the process. */
  readonly environment?: Readonly<Record<string, string>>;
}

/**
 * Gives a ClickHouse server: that of `CLICKHOUSE_URL`, else the HTTP front over the embedded engine
 * as a process of its own on a free loopback port, with its data under the temporary folder; half a
 * second. The caller makes its own database in it.
 */
export async function startTestClickHouse(
  options: TestClickHouseOptions = {},
): Promise<TestClickHouse> {
  const { CLICKHOUSE_URL: given } = processEnvironment();
  if (given !== undefined && given !== '' && options.isOwn !== true) {
    return { url: given, process: null, stop: async () => undefined };
  }
  const [port = 0] = await stablePorts(1);
  const url = `http://127.0.0.1:${port}`;
  const directory = mkdtempSync(join(tmpdir(), 'tollgate-test-clickhouse-'));
  const callOff = watchOver(directory);
  const dataDir = join(directory, 'data');
  mkdirSync(dataDir);
  const environment = Object.entries(options.environment ?? {}).map(
    ([name, value]) => `${name}=${value}`,
  );
  const args: ChdbFrontArguments = [String(port), dataDir];
  const engine = new EngineProcess({
    name: 'clickhouse',
    command: 'env',
    args: [
      ...environment,
      process.execPath,
      join(import.meta.dirname, 'chdb-front.process.js'),
      ...args,
    ],
    directory,
    probe: async () => {
      const answer = await fetch(`${url}/ping`, { signal: AbortSignal.timeout(1_000) });
      if (!answer.ok) throw new Error(`answered ${answer.status}`);
    },
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
  const running: TestClickHouseProcess = {
    port,
    dataDir,
    get pid() {
      return Number(readFileSync(join(directory, 'clickhouse.pid'), 'utf8'));
    },
    kill: () => engine.kill(),
    start: () => engine.start(),
    pause: () => engine.pause(),
    resume: () => engine.resume(),
  };
  return { url, process: running, stop: () => (stopped ??= stop()) };
}
