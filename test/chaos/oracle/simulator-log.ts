import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs';

import type { Attempt } from './facts.js';

/** Reads the simulator's log as it grows. */
export class SimulatorLog {
  private readonly attempts = new Map<string, Attempt>();
  private atByte = 0;
  private anonymous = 0;

  constructor(private readonly file: string) {}

  /** Attempts that came without an id. */
  get withoutId(): number {
    return this.anonymous;
  }

  /** Every attempt so far, in the order in which they arrived. */
  read(): ReadonlyMap<string, Attempt> {
    if (!existsSync(this.file)) return this.attempts;
    const file = openSync(this.file, 'r');
    try {
      const rest = Buffer.alloc(fstatSync(file).size - this.atByte);
      readSync(file, rest, 0, rest.length, this.atByte);
      this.takeLines(rest);
    } finally {
      closeSync(file);
    }
    return this.attempts;
  }

  /** Takes whole lines; one that is being written is taken the next time. */
  private takeLines(bytes: Buffer): void {
    let start = 0;
    for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, start)) {
      this.take(bytes.subarray(start, end).toString());
      this.atByte += end + 1 - start;
      start = end + 1;
    }
  }

  private take(line: string): void {
    const entry = JSON.parse(line) as Record<string, string | number | null>;
    const id = entry['attempt_id'];
    if (typeof id !== 'string') {
      this.anonymous += 1;
      return;
    }
    const known = this.attempts.get(id);
    if (entry['line'] === 'received') {
      if (known !== undefined) known.received += 1;
      else {
        const model = String(entry['model']);
        this.attempts.set(id, { id, model, received: 1, bill: null, atByte: this.atByte });
      }
    } else if (known !== undefined) {
      known.bill = {
        input: Number(entry['billed_input']),
        output: Number(entry['billed_output']),
        status: Number(entry['status']),
      };
    }
  }
}
