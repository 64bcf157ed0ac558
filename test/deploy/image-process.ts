import { spawn, type ChildProcess } from 'node:child_process';

import { messageOf } from '#libs/kernel';
import { eventually } from '#libs/testing';

import { imageOf } from './dockerfile.js';

/** How a container ended. */
export interface ContainerEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Longest start, milliseconds: ten seconds on two idle cores, a minute and more on busy ones. */
const START_MS = 150_000;

/** What a process prints when it serves. */
const SERVES = / listening on |Tollgate is ready at /;

/**
 * A container as far as that is possible without an engine: the command line of an image as a plain
 * process, in a laid out product instead of `/app`, on this Node, with the environment of the container
 * and nothing else.
 */
export class ImageProcess {
  private output = '';
  private readonly child: ChildProcess;
  private readonly ended: Promise<ContainerEnd>;

  /**
   * @param product the folder that stands for `/app`
   * @param environment over that of the image
   */
  constructor(
    readonly target: string,
    private readonly product: string,
    environment: Readonly<Record<string, string>>,
  ) {
    const image = imageOf(target);
    this.environment = { ...image.environment, HOST: '127.0.0.1', ...environment };
    this.child = this.run(image.command);
    this.ended = endOf(this.child);
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on('data', (chunk: Buffer) => (this.output += chunk.toString()));
    }
  }

  private readonly environment: Readonly<Record<string, string>>;

  /** `http://127.0.0.1:<port>` */
  get url(): string {
    const { PORT: port, SIMULATOR_PORT: simulatorPort } = this.environment;
    return `http://127.0.0.1:${simulatorPort ?? port}`;
  }

  /** Everything it printed. */
  get printed(): string {
    return this.output;
  }

  /** Resolves when a path answers 200. @throws Error with what it printed when it ends, or does not */
  async answers(path: string): Promise<void> {
    try {
      // Asked only once it says that it listens: six starts share the machine with whoever asks.
      await eventually(() => this.isOver || SERVES.test(this.output), { deadlineMs: START_MS });
      await eventually(async () => this.isOver || (await fetch(`${this.url}${path}`)).ok, {
        deadlineMs: START_MS,
      });
    } catch (error) {
      throw new Error(`${this.target} ${path}: ${messageOf(error)}\n${this.output}`, {
        cause: error,
      });
    }
    if (this.isOver) throw new Error(`${this.target} ended: ${this.output}`);
  }

  /** Runs a health check of a container beside it. @returns its exit code */
  async check(command: readonly string[]): Promise<number | null> {
    return (await endOf(this.run(command))).code;
  }

  /** Resolves when it ends by itself. */
  async end(): Promise<ContainerEnd> {
    return this.ended;
  }

  /** Tells it to stop as an engine does. */
  async stop(): Promise<ContainerEnd> {
    this.child.kill(imageOf(this.target).stopSignal as NodeJS.Signals);
    return this.ended;
  }

  /** Ends it at once, if it runs. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.ended;
  }

  private get isOver(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  private run([program, ...args]: readonly string[]): ChildProcess {
    if (program !== '/usr/local/bin/node') throw new Error(`${program} is not in the image`);
    const own = args.map((word) => word.replace(/^\/app\//, `${this.product}/`));
    return spawn(process.execPath, own, {
      cwd: this.product,
      env: this.environment,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }
}

function endOf(child: ChildProcess): Promise<ContainerEnd> {
  return new Promise((resolve) => child.once('close', (code, signal) => resolve({ code, signal })));
}
