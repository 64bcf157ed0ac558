import { delay } from './wait.js';

/**
 * Work that is done again and again in the background, one pass at a time, with a pause after each. A
 * pass that throws is told and made again after the pause: nothing may rest on a single one.
 */
export abstract class PeriodicWorker {
  private readonly stopping = new AbortController();
  private running: Promise<void> | undefined;

  /** Begins with a first pass at once. Idempotent. */
  start(): void {
    this.running ??= this.run();
  }

  /** Lets the pass in hand come to its end, which looks at `signal` between its steps. Idempotent. */
  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  /** Aborted once the worker is to end. */
  protected get signal(): AbortSignal {
    return this.stopping.signal;
  }

  /** One pass over everything that is due. */
  protected abstract pass(): Promise<unknown>;

  /** Told of a pass that threw. */
  protected abstract failed(error: unknown): void;

  /** Pause after a pass, milliseconds. */
  protected abstract pauseMs(): number;

  private async run(): Promise<void> {
    while (!this.signal.aborted) {
      try {
        await this.pass();
      } catch (error) {
        this.failed(error);
      }
      await delay(this.pauseMs(), this.signal);
    }
  }
}
