import { AppError, assert, backoffMs, delay, type Random } from '#libs/kernel';
import type { EventLog, LogRecord, SubscribeOptions } from '../../../core/src/index.js';
import type { LogTail } from './log-tail.js';
import { outOfRange } from './log-errors.js';

/** Pause after a failed batch, milliseconds. */
const RETRY = { firstMs: 100, mostMs: 10_000 };

/** What a reader of one partition works with. */
export interface PartitionReaderOptions {
  readonly log: EventLog;
  readonly tail: LogTail;
  readonly random: Random;
  readonly subscription: SubscribeOptions;
  readonly topic: string;
  readonly partition: number;
  /** Resolves when the group has confirmed who holds which partition. */
  readonly confirmClaim: () => Promise<void>;
}

/**
 * Reads one partition for as long as the member holds it: take, read, hand over, one batch at a
 * time. After any failure it takes the partition again, because only the owner knows whether its
 * transaction was committed.
 */
export class PartitionReader {
  private readonly ending = new AbortController();
  private position: { epoch: bigint; nextOffset: bigint } | undefined;
  /** Resolves when the batch in hand is finished and nothing more will be read. */
  readonly ended: Promise<void>;

  constructor(private readonly options: PartitionReaderOptions) {
    this.ended = this.run();
  }

  /** Tells the handler by its signal, lets it finish, and reads nothing more. */
  end(): void {
    this.ending.abort();
  }

  private async run(): Promise<void> {
    const { signal } = this.ending;
    let failures = 0;
    while (!signal.aborted) {
      let isDone = false;
      try {
        isDone = await this.step();
      } catch (error) {
        await this.failed(error);
      }
      if (isDone) {
        failures = 0;
      } else if (!signal.aborted) {
        const unit = 0.5 + this.options.random.bytes(1)[0]! / 512;
        await delay(backoffMs(failures, RETRY, unit), signal);
        failures += 1;
      }
    }
  }

  private async failed(error: unknown): Promise<void> {
    const { topic, partition, subscription, confirmClaim } = this.options;
    this.position = undefined;
    // A fence after the end is what the fence is for.
    if (this.ending.signal.aborted && isFence(error)) return;
    subscription.onError(error, { topic, partition });
    if (isFence(error)) await confirmClaim();
  }

  /** @returns false when the handler did not move on */
  private async step(): Promise<boolean> {
    this.position ??= await this.take();
    const { epoch, nextOffset } = this.position;
    const records = await this.nextRecords(nextOffset);
    if (records.length === 0) return true;
    const { topic, partition, subscription } = this.options;
    const end = records.at(-1)!.offset + 1n;
    let resolved = nextOffset;
    await subscription.handle({
      topic,
      partition,
      epoch,
      records,
      signal: this.ending.signal,
      resolve: (next) => {
        assert(next >= resolved && next <= end, `${next} is not within ${resolved} to ${end}`);
        resolved = next;
      },
    });
    this.position = { epoch, nextOffset: resolved };
    return resolved > nextOffset;
  }

  private async take(): Promise<{ epoch: bigint; nextOffset: bigint }> {
    const { log, tail, topic, partition, subscription } = this.options;
    const bounds = await log.bounds(topic, partition);
    tail.observe(topic, partition, bounds.next);
    const taken = await subscription.owner.take(topic, partition, bounds);
    if (taken.nextOffset < bounds.earliest || taken.nextOffset > bounds.next) {
      throw outOfRange(
        `the owner of ${topic}/${partition} is at ${taken.nextOffset}, ` +
          `the log holds ${bounds.earliest} to ${bounds.next}`,
      );
    }
    return taken;
  }

  /** @returns nothing when the reader has ended, or when a poll woke it for nothing */
  private async nextRecords(from: bigint): Promise<readonly LogRecord[]> {
    const { log, tail, topic, partition, subscription } = this.options;
    const { signal } = this.ending;
    const { maxRecords, maxBytes, lingerMs } = subscription;
    await tail.waitFor(topic, partition, from, signal);
    if (lingerMs > 0) {
      const last = from + BigInt(maxRecords) - 1n;
      await tail.waitFor(topic, partition, last, signal, lingerMs);
    }
    if (signal.aborted) return [];
    const records = await log.read(topic, partition, from, { maxRecords, maxBytes });
    return signal.aborted ? [] : records;
  }
}

function isFence(error: unknown): boolean {
  return error instanceof AppError && error.code === 'log.fenced';
}
