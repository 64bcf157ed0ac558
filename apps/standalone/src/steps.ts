import type { Clock } from '#libs/kernel';

/** How often the running time of a step is redrawn on a terminal, milliseconds. */
const REDRAW_MS = 120;

/** Says what a start is doing: one line per step with its time. */
export class Steps {
  constructor(
    private readonly clock: Clock,
    private readonly out: NodeJS.WriteStream = process.stdout,
  ) {
    // A reader that went away (`npm start | head`) is no reason to stop serving.
    out.on('error', () => undefined);
  }

  /** Runs a step; its line shows the time it took, on a terminal also while it runs. */
  async run<T>(title: string, work: () => Promise<T>): Promise<T> {
    const begunMs = this.clock.monotonicMs();
    const seconds = (): string => `${((this.clock.monotonicMs() - begunMs) / 1000).toFixed(1)} s`;
    const redraw = this.out.isTTY
      ? setInterval(() => this.out.write(`\r  ·  ${title} … ${seconds()} `), REDRAW_MS)
      : undefined;
    try {
      const result = await work();
      this.out.write(`${this.lineStart()}  ok ${title} (${seconds()})\n`);
      return result;
    } catch (error) {
      this.out.write(`${this.lineStart()}  !! ${title} (${seconds()})\n`);
      throw error;
    } finally {
      clearInterval(redraw);
    }
  }

  /** A line of its own. */
  say(line: string): void {
    this.out.write(`${line}\n`);
  }

  private lineStart(): string {
    return this.out.isTTY ? '\r\u001b[2K' : '';
  }
}
