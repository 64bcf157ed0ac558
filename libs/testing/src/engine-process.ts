import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { messageOf } from '#libs/kernel';

import { eventually } from './eventually.js';

/** How an engine is run. */
export interface EngineProcessOptions {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** Folder for the engine's output and its process id; the same one for all engines of a test. */
  readonly directory: string;
  /** Resolves when the engine answers, throws while it does not. */
  readonly probe: () => Promise<void>;
  /** Longest time from the start to the first answer, milliseconds. @default 120000 */
  readonly startMs?: number;
}

/** An engine as a child process that a test can kill, stop in its tracks and start again. */
export class EngineProcess {
  private child: ChildProcess | undefined;

  constructor(private readonly options: EngineProcessOptions) {}

  /** Starts it and waits until it answers. @throws Error with the end of its output */
  async start(): Promise<void> {
    const { name, command, args, directory, probe, startMs = 120_000 } = this.options;
    const output = openSync(join(directory, `${name}.log`), 'a');
    const child = spawn(command, [...args], { stdio: ['ignore', output, output] });
    closeSync(output);
    this.child = child;
    let failure = '';
    child.once('error', (error) => (failure = error.message));
    child.once('exit', (code, signal) => (failure = `it ended with ${code ?? signal}`));
    if (child.pid !== undefined) {
      writeFileSync(join(directory, `${name}.pid`), String(child.pid));
    }
    try {
      await eventually(
        async () => {
          if (failure !== '') return;
          await probe();
          // Whoever answered was another one if this one has ended meanwhile.
          if (failure === '' && child.exitCode !== null)
            failure = `it ended with ${child.exitCode}`;
        },
        { deadlineMs: startMs },
      );
    } catch (error) {
      failure = messageOf(error);
    }
    if (failure === '') return;
    await this.kill();
    throw new Error(`${name} did not start: ${failure}\n${this.lastOutput()}`);
  }

  /** Ends it at once, as `kill -9` does, and waits until it is gone. Idempotent. */
  async kill(): Promise<void> {
    const child = this.child;
    this.child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    if (child.pid === undefined) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
  }

  /** Stops it in its tracks (SIGSTOP): its connections stay open and nothing answers. */
  pause(): void {
    this.running().kill('SIGSTOP');
  }

  /** Lets it go on (SIGCONT). */
  resume(): void {
    this.running().kill('SIGCONT');
  }

  private running(): ChildProcess {
    if (this.child === undefined) throw new Error(`${this.options.name} is not running`);
    return this.child;
  }

  private lastOutput(): string {
    const file = join(this.options.directory, `${this.options.name}.log`);
    return existsSync(file) ? readFileSync(file, 'utf8').slice(-2_000) : '';
  }
}

/** Nothing but a shell: it outlives a killed test process and removes what that left behind. */
const WATCHDOG =
  'read _; for f in "$1"/*.pid; do kill -9 "$(cat "$f")" 2>/dev/null; done; sleep 1; rm -rf "$1"';

/**
 * Removes the engines of a directory, and the directory, should this process die.
 * @returns a function that calls it off
 */
export function watchOver(directory: string): () => void {
  const watchdog = spawn('/bin/sh', ['-c', WATCHDOG, 'sh', directory], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  watchdog.unref();
  return () => {
    watchdog.kill('SIGKILL');
    watchdog.stdin?.destroy();
  };
}
