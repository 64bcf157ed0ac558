import { spawn, type ChildProcess } from 'node:child_process';

import { eventually } from '#libs/testing';

/** How long a process may take to serve, milliseconds. */
const START_DEADLINE_MS = 60_000;
/** How long a process may take to stop before it is killed, milliseconds. */
const STOP_DEADLINE_MS = 15_000;
const LISTENING = /listening on (http:\/\/\S+)/;

/** A compiled entry point running on one core. */
export class PinnedProcess {
  private output = '';
  private hasEnded = false;

  private constructor(
    private readonly child: ChildProcess,
    private readonly name: string,
  ) {
    const collect = (chunk: Buffer): void => {
      this.output = (this.output + chunk.toString()).slice(-20_000);
    };
    child.stdout?.on('data', collect);
    child.stderr?.on('data', collect);
    child.once('exit', () => (this.hasEnded = true));
  }

  /**
   * Starts an entry point with this Node and nothing of our own settings, and waits until it prints
   * where it listens.
   * @param command flags of Node, the entry and its arguments
   */
  static async start(
    name: string,
    core: number,
    command: readonly string[],
    env: Readonly<Record<string, string>>,
  ): Promise<{ readonly process: PinnedProcess; readonly url: string }> {
    const { PATH = '', HOME = '' } = process.env;
    const child = spawn('taskset', ['-c', `${core}`, process.execPath, ...command], {
      env: { PATH, HOME, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const started = new PinnedProcess(child, name);
    return { process: started, url: await started.listening() };
  }

  /** `taskset` becomes the program it starts, so this is the program's own. */
  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** Ends the process, by force when it takes too long. */
  async stop(): Promise<void> {
    if (!this.hasEnded) this.child.kill('SIGTERM');
    const killer = setTimeout(() => this.child.kill('SIGKILL'), STOP_DEADLINE_MS);
    await eventually(() => this.hasEnded, { deadlineMs: STOP_DEADLINE_MS * 2 });
    clearTimeout(killer);
  }

  private async listening(): Promise<string> {
    await eventually(() => this.hasEnded || LISTENING.test(this.output), {
      deadlineMs: START_DEADLINE_MS,
    });
    const [, url] = LISTENING.exec(this.output) ?? [];
    if (url === undefined) throw new Error(`${this.name} did not start:\n${this.output}`);
    return url;
  }
}
