import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { fastify, type FastifyInstance } from 'fastify';

import { PostgresEventLog, productTopics, provisionTopics } from '#libs/event-log/adapters';
import { SystemClock, SystemRandom } from '#libs/kernel';
import { processEnvironment } from '#libs/platform/config';
import { registerRpcRoutes, RpcServices } from '#libs/platform/rpc';
import { startTestPostgres, type TestPostgres } from '#libs/testing';
import { POSTGRES_MIGRATIONS } from '#migrations';

import {
  loggedEvents,
  PARTITIONS,
  PEPPERS_TEXT,
  ProxyServices,
  ScriptedUpstream,
  type LoggedEvent,
} from './proxy-world.js';

export * from './proxy-world.js';

const SECRET = 'service-secret-of-the-tests';
const MAIN = fileURLToPath(new URL('../src/main.js', import.meta.url));

/** How a proxy process is started. */
export interface ProcessSettings {
  /** Environment variables beside the usual ones. */
  readonly variables?: Readonly<Record<string, string>>;
  /** Folder of the spool below the world's own. */
  readonly spool?: string;
  /** Puts the spool on a volume of so many MiB of its own. */
  readonly volumeMiB?: number;
  /** Module that is loaded before the proxy. */
  readonly preload?: string;
  /** Whether it is expected to end before it listens. */
  readonly isRefused?: boolean;
}

/** How a process ended. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** One proxy as a process of its own. */
export class ProxyProcess {
  readonly ended: Promise<Ended>;
  url = '';
  /** What it has written to standard error. */
  log = '';

  private constructor(private readonly child: ChildProcess) {
    this.ended = once(child, 'close').then(([code, signal]) => ({ code, signal }) as Ended);
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.log += text;
    });
  }

  /** Resolves when it listens or has ended. */
  static async start(command: string, args: string[], env: NodeJS.ProcessEnv) {
    const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    const process = new ProxyProcess(child);
    const listening = new Promise<void>((resolve) => {
      let text = '';
      child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
        const match = /listening on (\S+)/.exec(text);
        if (match === null) return;
        process.url = match[1]!;
        resolve();
      });
    });
    await Promise.race([listening, process.ended]);
    return process;
  }

  get pid(): number {
    return this.child.pid!;
  }

  kill(signal: NodeJS.Signals = 'SIGKILL'): void {
    this.child.kill(signal);
  }

  /** A chat request. */
  chat(
    key: string,
    body: Record<string, unknown> = {},
    signal: AbortSignal | null = null,
  ): Promise<Response> {
    const whole = { model: 'sized', messages: [{ role: 'user', content: 'hi' }] };
    return fetch(`${this.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
      body: JSON.stringify({ ...whole, ...body }),
      signal,
    });
  }

  /** What `/health/ready` says. */
  async ready(): Promise<{ status: number; body: string }> {
    const response = await fetch(`${this.url}/health/ready`);
    return { status: response.status, body: await response.text() };
  }
}

/** Everything around proxy processes: event log, upstream, and auth and budgets over RPC. */
export class ProxyWorld {
  readonly upstream = new ScriptedUpstream();
  readonly services = new ProxyServices();
  readonly directory = mkdtempSync(join(tmpdir(), 'proxy-process-'));
  private readonly processes = new Set<ProxyProcess>();
  private readonly rpc: FastifyInstance = fastify();
  private eventLog!: PostgresEventLog;
  private postgres!: TestPostgres;
  private rpcUrl = '';

  static async start(): Promise<ProxyWorld> {
    const world = new ProxyWorld();
    const upstreamUrl = await world.upstream.start();
    world.postgres = await startTestPostgres({ migrations: POSTGRES_MIGRATIONS });
    await provisionTopics(world.postgres.url, productTopics(PARTITIONS));
    world.eventLog = new PostgresEventLog({
      database: world.postgres.database('proxy'),
      clock: new SystemClock(),
      random: new SystemRandom(),
    });
    registerRpcRoutes(
      world.rpc,
      world.services.offerTo(new RpcServices(), () => upstreamUrl),
      SECRET,
    );
    await world.rpc.listen({ port: 0, host: '127.0.0.1' });
    world.rpcUrl = `http://127.0.0.1:${(world.rpc.server.address() as AddressInfo).port}`;
    return world;
  }

  /** Starts a proxy. @throws Error with its log when it ends before it listens */
  async startProxy(settings: ProcessSettings = {}): Promise<ProxyProcess> {
    const spool = join(this.directory, settings.spool ?? 'spool');
    mkdirSync(spool, { recursive: true });
    const env = { ...this.environment(spool), ...settings.variables };
    const script = [
      ...(settings.preload === undefined ? [] : ['--import', settings.preload]),
      MAIN,
    ];
    const process_ =
      settings.volumeMiB === undefined
        ? await ProxyProcess.start(process.execPath, script, env)
        : await ProxyProcess.start('unshare', onVolume(spool, settings.volumeMiB, script), env);
    this.processes.add(process_);
    if (process_.url === '' && settings.isRefused !== true) {
      throw new Error(`the proxy has not started: ${process_.log}`);
    }
    return process_;
  }

  /** Where the event log is, as a superuser. */
  get databaseUrl(): string {
    return this.postgres.url;
  }

  private environment(spool: string): NodeJS.ProcessEnv {
    const { PATH } = processEnvironment();
    return {
      PATH,
      NODE_ENV: 'test',
      HOST: '127.0.0.1',
      PORT: '0',
      LOG_LEVEL: 'warn',
      LOG_PARTITIONS: String(PARTITIONS),
      DATABASE_URL: this.postgres.url,
      AUTH_URL: this.rpcUrl,
      BUDGET_URL: this.rpcUrl,
      SERVICE_SECRET: SECRET,
      KEY_PEPPERS: PEPPERS_TEXT,
      SIM_CREDENTIAL: 'sim-secret',
      SPOOL_DIR: spool,
      DRAIN_SECONDS: '5',
    };
  }

  /** Every event of a topic. */
  logged(topic: string): Promise<LoggedEvent[]> {
    return loggedEvents(this.eventLog, topic);
  }

  /** Ends the processes and everything around them. */
  async stop(): Promise<void> {
    for (const each of this.processes) each.kill();
    await Promise.all([...this.processes].map((each) => each.ended));
    await this.rpc.close();
    await this.eventLog.close();
    await this.postgres.stop();
    await this.upstream.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Arguments of `unshare` for a process with a volume of its own, which ends with it. */
function onVolume(directory: string, sizeMiB: number, script: readonly string[]): string[] {
  const mount = `mount -t tmpfs -o size=${sizeMiB}m tmpfs "$0" && exec "$@"`;
  return ['-Urm', 'sh', '-c', mount, directory, process.execPath, ...script];
}
