import { readFileSync } from 'node:fs';

import { SystemClock } from '#libs/kernel';

/** How often the offset is read, milliseconds of the monotonic clock. */
const READ_EVERY_MS = 50;

/**
 * The clock of the machine, whose wall time a test shifts by writing a number of milliseconds into a
 * file; the monotonic clock is not shifted. An empty or absent file is an offset of 0.
 */
export class ShiftableClock extends SystemClock {
  private offsetMs = 0;
  private readAtMs = Number.NEGATIVE_INFINITY;

  constructor(private readonly file: string) {
    super();
  }

  override nowMs(): number {
    if (this.monotonicMs() - this.readAtMs >= READ_EVERY_MS) this.read();
    return super.nowMs() + this.offsetMs;
  }

  private read(): void {
    this.readAtMs = this.monotonicMs();
    try {
      this.offsetMs = Number(readFileSync(this.file, 'utf8')) || 0;
    } catch {
      this.offsetMs = 0;
    }
  }
}
