import { fork, type ChildProcess } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { processEnvironment } from '#libs/platform/config';

import type { WorkerOrder, WorkerReport, WorkerSettings } from './worker-protocol.js';

/** Compiled code that the workers share, so that each loads in less time. */
const COMPILED = join(tmpdir(), 'tollgate-test-compile-cache');

/** One sink worker as its driver sees it. Emits the kind of every report. */
export class WorkerHandle extends EventEmitter<Record<WorkerReport['kind'], []>> {
  /** Inserts begun and not yet ended. */
  inFlight = 0;
  /** The latest failure it told of; null = none. */
  lastFailure: string | null = null;
  private readonly child: ChildProcess;
  private readonly loaded: Promise<unknown>;
  private readonly gone: Promise<void>;
  private insertEnds: ((isAnswered: boolean) => void)[] = [];
  private readonly answers = new Map<number, (rows: readonly object[]) => void>();
  private asked = 0;

  /** Starts the process; it loads its code and waits for `go`. */
  constructor(settings: WorkerSettings) {
    super();
    this.child = fork(
      join(import.meta.dirname, 'sink-worker.process.js'),
      [JSON.stringify(settings)],
      {
        execPath: process.execPath,
        execArgv: ['--disable-warning=ExperimentalWarning'],
        env: { ...processEnvironment(), NODE_ENV: 'test', NODE_COMPILE_CACHE: COMPILED },
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      },
    );
    this.child.on('message', (message) => this.take(message as WorkerReport));
    this.loaded = once(this, 'loaded');
    this.gone = new Promise((resolve) => {
      this.child.once('exit', () => {
        this.endInserts(false);
        resolve();
      });
    });
  }

  get isAlive(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Lets it work; resolves when its engines are open. */
  async go(): Promise<void> {
    await Promise.race([this.loaded, this.failed()]);
    const working = once(this, 'working');
    this.send({ kind: 'go' });
    await Promise.race([working, this.failed()]);
  }

  /** Rejects when the process ends. */
  private async failed(): Promise<never> {
    await this.gone;
    throw new Error('a sink worker ended before it worked');
  }

  arm(failpoints: string): void {
    this.send({ kind: 'arm', failpoints });
  }

  /** Runs SQL on its ClickHouse. */
  ask(sql: string): Promise<readonly object[]> {
    const id = (this.asked += 1);
    this.send({ kind: 'ask', id, sql });
    return new Promise((resolve) => this.answers.set(id, resolve));
  }

  /** kill -9; resolves when it is gone. */
  async kill(): Promise<void> {
    if (this.isAlive) this.child.kill('SIGKILL');
    await this.gone;
  }

  /** Resolves when it has died of what it was armed with. */
  whenGone(): Promise<void> {
    return this.gone;
  }

  /** Resolves when the insert that runs now, or else the next one, ends: whether it was answered. */
  endOfInsert(): Promise<boolean> {
    return new Promise((resolve) => this.insertEnds.push(resolve));
  }

  private endInserts(isAnswered: boolean): void {
    for (const resolve of this.insertEnds.splice(0)) resolve(isAnswered);
  }

  private send(order: WorkerOrder): void {
    this.child.send(order);
  }

  private take(message: WorkerReport): void {
    if (message.kind === 'insert') this.inFlight += 1;
    if (message.kind === 'inserted') {
      this.inFlight -= 1;
      this.endInserts(message.isAnswered);
    }
    if (message.kind === 'failure') this.lastFailure = message.text;
    if (message.kind === 'answer') this.answers.get(message.id)?.(message.rows);
    this.emit(message.kind);
  }
}
