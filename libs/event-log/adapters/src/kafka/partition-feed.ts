import type { AppError } from '#libs/kernel';
import type { LogRecord, PartitionBounds, SubscribeOptions } from '../../../core/src/index.js';
import { outOfRange } from '../log-errors.js';
import type { PartitionSource } from '../partition-reader.js';
import { sizeOf } from './kafka-record.mapping.js';

/** What the fetcher gives to each feed. */
export interface FeedContext {
  readonly limits: Pick<SubscribeOptions, 'maxRecords' | 'maxBytes' | 'lingerMs'>;
  readonly bounds: (topic: string, partition: number) => Promise<PartitionBounds>;
  /** Called when the feed wants more, or is given up. */
  readonly onChange: () => void;
}

/**
 * The records of one partition between the fetcher and its reader: the batch in the reader's hands,
 * so that it can be handed over again, and at most one batch more. A feed that has as much is left
 * out of fetches, which is how a slow handler holds its own partition back and no other.
 */
export class PartitionFeed implements PartitionSource {
  private records: LogRecord[] = [];
  private sizes: number[] = [];
  /** How many of the records the reader has in its hands. */
  private handedOver = 0;
  private failure: AppError | undefined;
  private lastFailure: string | null = null;
  private isActive = false;
  private end: bigint | null = null;
  private position = 0n;
  private wake: (() => void) | undefined;

  constructor(
    readonly topic: string,
    readonly partition: number,
    private readonly context: FeedContext,
  ) {}

  async bounds(): Promise<PartitionBounds> {
    const bounds = await this.context.bounds(this.topic, this.partition);
    this.end = bounds.next;
    return bounds;
  }

  failureCode(): string | null {
    return this.lastFailure;
  }

  knownEnd(): bigint | null {
    return this.end;
  }

  readAheadMs(offset: bigint): number | null {
    const first = this.records[0]?.offset;
    return first === undefined || offset < first
      ? null
      : (this.records[Number(offset - first)]?.appendedAtMs ?? null);
  }

  /** Where the next fetch begins. */
  get fetchOffset(): bigint {
    return this.position;
  }

  /** Whether the next fetch should ask for this partition. */
  get isWanting(): boolean {
    return this.isActive && !this.isFull(this.handedOver);
  }

  /** Takes what a fetch from `from` on brought. */
  accept(from: bigint, records: readonly LogRecord[], end: bigint): void {
    this.end = end;
    this.lastFailure = null;
    // The reader has gone elsewhere in the meantime.
    if (!this.isActive || from !== this.position) return;
    for (const record of records) {
      // A batch of the log begins before the offset that was asked for.
      if (record.offset < this.position) continue;
      if (record.offset > this.position) {
        this.fail(outOfRange(`${this.topic}/${this.partition} has no record at ${this.position}`));
        return;
      }
      this.records.push(record);
      this.sizes.push(sizeOf(record));
      this.position += 1n;
    }
    if (records.length > 0) this.wake?.();
  }

  /** Hands the failure to the reader and fetches nothing until it asks again. */
  fail(error: AppError): void {
    this.isActive = false;
    this.failure = error;
    this.lastFailure = error.code;
    this.wake?.();
  }

  /** Fetches nothing more. */
  close(): void {
    this.isActive = false;
    this.records = [];
    this.sizes = [];
  }

  async next(from: bigint, signal: AbortSignal): Promise<readonly LogRecord[]> {
    this.seek(from);
    this.context.onChange();
    await this.until(() => this.records.length > 0, signal);
    const lingerMs = this.context.limits.lingerMs();
    if (lingerMs > 0 && this.failure === undefined) {
      await this.until(() => this.isFull(0), signal, lingerMs);
    }
    // What was read before the failure is good; the failure is met again after it.
    if (signal.aborted) return [];
    if (this.records.length === 0) throw this.failure ?? outOfRange('the feed has ended');
    return this.cut();
  }

  /** Drops what lies before the offset, and everything when what follows is not there. */
  private seek(from: bigint): void {
    const first = this.records[0]?.offset;
    if (first !== undefined && first <= from && from <= this.position) {
      const passed = Number(from - first);
      this.records.splice(0, passed);
      this.sizes.splice(0, passed);
    } else {
      this.records = [];
      this.sizes = [];
      this.position = from;
    }
    this.handedOver = 0;
    this.failure = undefined;
    this.isActive = true;
  }

  private cut(): readonly LogRecord[] {
    const { maxRecords, maxBytes } = this.context.limits;
    let [count, size] = [0, 0];
    while (count < this.records.length && count < maxRecords) {
      size += this.sizes[count]!;
      if (count > 0 && size > maxBytes) break;
      count += 1;
    }
    this.handedOver = count;
    this.context.onChange();
    return this.records.slice(0, count);
  }

  private isFull(from: number): boolean {
    const { maxRecords, maxBytes } = this.context.limits;
    if (this.records.length - from >= maxRecords) return true;
    let size = 0;
    for (let index = from; index < this.sizes.length; index += 1) size += this.sizes[index]!;
    return size >= maxBytes;
  }

  /** Waits for a condition, a failure or the end; no longer than `patienceMs`. */
  private async until(
    isEnough: () => boolean,
    signal: AbortSignal,
    patienceMs?: number,
  ): Promise<void> {
    if (isEnough() || this.failure !== undefined || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const finish = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', finish);
        this.wake = undefined;
        resolve();
      };
      const timer = patienceMs === undefined ? undefined : setTimeout(finish, patienceMs);
      signal.addEventListener('abort', finish, { once: true });
      this.wake = () => {
        if (isEnough() || this.failure !== undefined) finish();
      };
    });
  }
}
