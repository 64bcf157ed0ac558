import { spawn, type ChildProcess } from 'node:child_process';

import { eventually } from '#libs/testing';

/** How long a process may take to come up, milliseconds; engines start cold on a busy machine. */
const START_DEADLINE_MS = 180_000;

/** A process of the product under test, with what it printed. */
export class Child {
  private output = '';
  private exit:
    | { readonly code: number | null; readonly signal: NodeJS.Signals | null }
    | undefined;
  private readonly ended: Promise<void>;
  private readonly closed: Promise<unknown>;

  private constructor(private readonly child: ChildProcess) {
    const collect = (chunk: Buffer): void => {
      this.output = (this.output + chunk.toString()).slice(-200_000);
    };
    child.stdout?.on('data', collect);
    child.stderr?.on('data', collect);
    this.closed = new Promise((resolve) => child.once('close', resolve));
    this.ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.exit = { code, signal };
        resolve();
      });
    });
  }

  /** Starts a compiled entry point with this Node and nothing of the parent's own settings. */
  static start(entry: string, args: readonly string[], env: Record<string, string>): Child {
    const { PATH = '', HOME = '', TMPDIR } = process.env;
    const base = { PATH, HOME, ...(TMPDIR === undefined ? {} : { TMPDIR }) };
    return new Child(
      spawn(process.execPath, [entry, ...args], {
        env: { ...base, ...env },
        stdio: ['ignore', 'pipe', 'pipe'],
      }),
    );
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** Everything printed so far, the newest 200,000 characters. */
  get printed(): string {
    return this.output;
  }

  /** Waits until the output matches; fails at once when the process ends before. */
  async waitFor(pattern: RegExp): Promise<RegExpExecArray> {
    const seen = (): RegExpExecArray | null => pattern.exec(this.output);
    await eventually(() => seen() !== null || this.exit !== undefined, {
      deadlineMs: START_DEADLINE_MS,
    });
    const match = seen();
    if (match !== null) return match;
    throw new Error(`the process ended (${JSON.stringify(this.exit)}):\n${this.output}`);
  }

  /** Sends a signal and waits for the end. @returns exit code, or null after a signal's death */
  async end(signal: NodeJS.Signals): Promise<number | null> {
    if (this.exit === undefined) this.child.kill(signal);
    await this.ended;
    return this.exit?.code ?? null;
  }

  /** Waits for the process to end by itself; everything that it printed is there then. */
  async untilExit(): Promise<number | null> {
    await this.closed;
    return this.exit?.code ?? null;
  }
}
