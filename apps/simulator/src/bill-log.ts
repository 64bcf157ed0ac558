import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';

/** A chat request that arrived whole; written before anything else happens with it. */
export interface AttemptReceived {
  readonly line: 'received';
  /** `x-client-request-id` as sent, null when the caller sent none. */
  readonly attempt_id: string | null;
  /** RFC 3339, UTC. */
  readonly received_at: string;
  /** Null when the body names none. */
  readonly model: string | null;
  readonly stream: boolean;
  /** Lower-case names; `authorization` is shown as `sha256:<64 hex>` of its value. */
  readonly headers: Readonly<Record<string, string>>;
}

/** What the simulator charges for an attempt; written before the first byte of the answer. */
export interface AttemptBilled {
  readonly line: 'billed';
  readonly attempt_id: string | null;
  /** Tokens, >= 0; 0 for an error status. */
  readonly billed_input: number;
  /** Tokens, >= 0; 0 for an error status. */
  readonly billed_output: number;
  /** The part of `billed_input` that was read from a cache, tokens. */
  readonly billed_cached: number;
  /** HTTP status that the answer has, or would have had without the fault. */
  readonly status: number;
}

/** One line of the log, in order of events. */
export type BillLogLine = AttemptReceived | AttemptBilled;

/** Lines kept when there is no file; older ones are forgotten. */
const MEMORY_LINES = 10_000;

/** The simulator's own record of what reached it and what it charged; lines are never changed. */
export abstract class BillLog {
  /** Keeps a line; when it returns, the line survives the end of any process. */
  abstract append(line: BillLogLine): void;
  /** Every line so far, oldest first. */
  abstract lines(): readonly BillLogLine[];
  abstract close(): void;
}

/** A log in a file of JSON lines; a later start on the same file continues it. */
export class FileBillLog extends BillLog {
  private readonly fd: number;

  /** @throws Error of the file system when the file cannot be opened for appending */
  constructor(private readonly file: string) {
    super();
    this.fd = openSync(file, 'a', 0o600);
  }

  append(line: BillLogLine): void {
    // Synchronous on purpose: the line is in the kernel before the answer is, so that no kill of a
    // process can lose a bill that a caller has seen the effect of.
    writeSync(this.fd, `${JSON.stringify(line)}\n`);
  }

  lines(): readonly BillLogLine[] {
    const texts = readFileSync(this.file, 'utf8').split('\n');
    return texts.filter((text) => text !== '').map((text) => JSON.parse(text) as BillLogLine);
  }

  close(): void {
    closeSync(this.fd);
  }
}

/** A log of the last 10,000 lines, for demonstrations and benchmarks. */
export class MemoryBillLog extends BillLog {
  private readonly kept: BillLogLine[] = [];

  append(line: BillLogLine): void {
    this.kept.push(line);
    // Dropping in blocks keeps the cost of a line constant.
    if (this.kept.length >= 2 * MEMORY_LINES) this.kept.splice(0, MEMORY_LINES);
  }

  lines(): readonly BillLogLine[] {
    return this.kept.slice(-MEMORY_LINES);
  }

  close(): void {
    this.kept.length = 0;
  }
}
