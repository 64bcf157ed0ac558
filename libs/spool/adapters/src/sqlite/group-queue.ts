import type { SpoolEvent } from '#libs/spool/core';

import {
  packGroup,
  type AppendRecord,
  type OpenRecord,
  type ProgressMark,
} from './record-codec.js';

/** Bounds of one transaction. */
const GROUP_RECORDS = 1_024;
const GROUP_BYTES = 1_048_576;
/** Bounds of what waits for its commit. */
const QUEUE_RECORDS = 10_000;
const QUEUE_BYTES = 64 * 1_048_576;

/** An attempt between `open` and the event that ends it. */
export interface OpenedAttempt {
  /** Its number in the file; 0 until its group is packed. */
  number: number;
  isDurable: boolean;
}

interface Waiting {
  readonly bytes: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** An intent that waits for its commit. */
export interface WaitingOpen extends Waiting, OpenRecord {
  readonly key: string;
  readonly opened: OpenedAttempt;
}

/** An event that waits for its commit. */
export interface WaitingAppend extends Waiting, AppendRecord {
  readonly event: SpoolEvent;
}

/** A group taken from the queue. */
export interface TakenGroup {
  readonly opens: readonly WaitingOpen[];
  readonly appends: readonly WaitingAppend[];
  readonly packed: Buffer;
}

/** Records that wait for the next commit, in the order in which they came. */
export class GroupQueue {
  private opens: WaitingOpen[] = [];
  private appends: WaitingAppend[] = [];
  private marks = new Map<number, number>();
  private bytes = 0;

  constructor(private nextAttempt: number) {}

  /** Whether anything waits. */
  get isEmpty(): boolean {
    return this.size === 0 && this.marks.size === 0;
  }

  /** Records that wait. */
  get size(): number {
    return this.opens.length + this.appends.length;
  }

  /** Whether no more than what must not be lost should come in. */
  get isFull(): boolean {
    return this.size >= QUEUE_RECORDS || this.bytes >= QUEUE_BYTES;
  }

  /** Queues an intent. */
  addOpen(entry: WaitingOpen): void {
    this.opens.push(entry);
    this.bytes += entry.bytes;
  }

  /** Queues an event. */
  addAppend(entry: WaitingAppend): void {
    this.appends.push(entry);
    this.bytes += entry.bytes;
  }

  /** Notes output of an attempt; a later mark replaces an earlier one. */
  mark(attemptNumber: number, tokensOut: number): void {
    this.marks.set(attemptNumber, tokensOut);
  }

  /** Puts events back in front, in their order. */
  putBack(appends: readonly WaitingAppend[]): void {
    this.appends = [...appends, ...this.appends];
    for (const entry of appends) this.bytes += entry.bytes;
  }

  /** Takes all intents out, to be refused. */
  takeOpens(): readonly WaitingOpen[] {
    const { opens } = this;
    this.opens = [];
    for (const entry of opens) this.bytes -= entry.bytes;
    return opens;
  }

  /** Takes all events out, to be refused because the writer is gone. */
  takeAppends(): readonly WaitingAppend[] {
    const { appends } = this;
    this.appends = [];
    for (const entry of appends) this.bytes -= entry.bytes;
    return appends;
  }

  /**
   * Takes and packs what fits one transaction: events first, since what they end has been paid for.
   * @param atUs microseconds since 1970
   */
  take(atUs: number): TakenGroup {
    const appends = fitting(this.appends, GROUP_RECORDS, GROUP_BYTES);
    const opens = fitting(this.opens, GROUP_RECORDS - appends.count, GROUP_BYTES - appends.bytes);
    const taken = { appends: this.appends, opens: this.opens };
    this.appends =
      appends.count === taken.appends.length ? [] : taken.appends.splice(appends.count);
    this.opens = opens.count === taken.opens.length ? [] : taken.opens.splice(opens.count);
    const bytes = appends.bytes + opens.bytes;
    this.bytes -= bytes;
    const firstAttempt = this.nextAttempt;
    for (const entry of taken.opens) entry.opened.number = this.nextAttempt++;
    const group = { atUs, firstAttempt, ...taken, marks: this.takeMarks() };
    return { ...taken, packed: packGroup(group, bytes) };
  }

  private takeMarks(): ProgressMark[] {
    if (this.marks.size === 0) return [];
    const marks = [...this.marks].map(([attemptNumber, tokensOut]) => ({
      attemptNumber,
      tokensOut,
    }));
    this.marks = new Map();
    return marks;
  }
}

/** How many of the first entries stay within the bounds; a single record always does. */
function fitting(
  entries: readonly Waiting[],
  maxRecords: number,
  maxBytes: number,
): { count: number; bytes: number } {
  let count = 0;
  let bytes = 0;
  while (count < entries.length && count < maxRecords) {
    const next = entries[count]!.bytes;
    if (bytes + next > maxBytes) break;
    bytes += next;
    count += 1;
  }
  return { count, bytes };
}
