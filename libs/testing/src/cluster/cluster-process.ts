import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { SystemClock } from '#libs/kernel';

import { eventually } from '../eventually.js';

/** How a process of the cluster ended. */
export interface ProcessEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** How a process of the cluster is run. */
export interface ClusterProcessOptions {
  /** Unique in the cluster; names its log files. */
  readonly name: string;
  /** Compiled entry point. */
  readonly entry: string;
  readonly args?: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Folder of logs and process ids. */
  readonly directory: string;
  /** The line of standard output that says it serves; everything else printed there is a surprise. */
  readonly ready: RegExp;
}

/** Longest start, milliseconds; on a busy machine a cold start takes many seconds. */
const START_MS = 120_000;

const clock = new SystemClock();

/**
 * A process of the product under test. Standard output is read for the line that says it serves,
 * standard error is kept in `<name>.err.log`, both over all of its lives.
 */
export class ClusterProcess {
  private child: ChildProcess | undefined;
  private ended: Promise<ProcessEnd> | undefined;
  private printed = '';
  private surprises = '';
  private frozen = false;
  /** When the latest life ended, monotonic milliseconds; 0 = none has. */
  endedAtMs = 0;

  constructor(private readonly options: ClusterProcessOptions) {}

  get name(): string {
    return this.options.name;
  }

  get isRunning(): boolean {
    return this.child !== undefined;
  }

  /** What standard output held beside the line that says it serves; empty when all is well. */
  get unexpectedOutput(): string {
    return this.surprises;
  }

  /** Starts it without waiting. @param env changes the environment of this life */
  spawn(env: Readonly<Record<string, string>> = {}): void {
    const { name, entry, args = [], directory } = this.options;
    if (this.child !== undefined) throw new Error(`${name} runs already`);
    const errors = openSync(join(directory, `${name}.err.log`), 'a');
    const child = spawn(process.execPath, [entry, ...args], {
      env: { ...basics(), ...this.options.env, ...env },
      stdio: ['ignore', 'pipe', errors],
    });
    closeSync(errors);
    this.child = child;
    this.printed = '';
    child.stdout?.on('data', (chunk: Buffer) => this.take(chunk.toString()));
    this.ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.child = undefined;
        this.frozen = false;
        this.endedAtMs = clock.monotonicMs();
        rmSync(this.pidFile(), { force: true });
        resolve({ code, signal });
      });
    });
    if (child.pid !== undefined) writeFileSync(this.pidFile(), String(child.pid));
  }

  /** Starts it and waits until it serves. @throws Error with the end of its log */
  async start(env: Readonly<Record<string, string>> = {}): Promise<void> {
    this.spawn(env);
    await this.untilReady();
  }

  /** Waits until it serves. @throws Error with the end of its log when it ends before */
  async untilReady(): Promise<void> {
    const isReady = (): boolean => this.options.ready.test(this.printed);
    await eventually(() => isReady() || this.child === undefined, { deadlineMs: START_MS });
    if (!isReady()) throw new Error(`${this.name} did not start:\n${this.lastErrors()}`);
  }

  /** Sends a signal and waits for the end. */
  async end(signal: NodeJS.Signals): Promise<ProcessEnd | undefined> {
    const { child, ended } = this;
    if (child === undefined) return ended;
    // A stopped process ends by nothing else.
    child.kill(signal);
    if (this.frozen && signal !== 'SIGKILL') this.thaw();
    return ended;
  }

  /** Waits for its end. @returns undefined when it was never started */
  async untilEnd(): Promise<ProcessEnd | undefined> {
    return this.ended;
  }

  /** SIGSTOP: its connections stay and nothing answers. */
  freeze(): void {
    this.frozen = this.child?.kill('SIGSTOP') ?? false;
  }

  /** SIGCONT. */
  thaw(): void {
    this.child?.kill('SIGCONT');
    this.frozen = false;
  }

  /** The end of standard error, for people. */
  lastErrors(): string {
    const file = join(this.options.directory, `${this.name}.err.log`);
    return existsSync(file) ? readFileSync(file, 'utf8').slice(-4_000) : '';
  }

  private take(text: string): void {
    this.printed += text;
    for (const line of text.split('\n').filter((one) => one !== '')) {
      if (!this.options.ready.test(line)) this.surprises += `${line}\n`;
    }
  }

  private pidFile(): string {
    return join(this.options.directory, `${this.name}.pid`);
  }
}

/** What every process needs of the parent's environment; nothing else of it leaks in. */
function basics(): Record<string, string> {
  const { PATH = '', HOME = '', TMPDIR } = process.env;
  // Compiled code is kept between starts: a third of the time of each.
  const NODE_COMPILE_CACHE = join(tmpdir(), 'tollgate-test-compile-cache');
  return { PATH, HOME, NODE_COMPILE_CACHE, ...(TMPDIR === undefined ? {} : { TMPDIR }) };
}
