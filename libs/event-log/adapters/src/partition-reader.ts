import { AppError, assert, backoffMs, delay, type Random } from '#libs/kernel';
import type {
  LogRecord,
  PartitionBounds,
  PartitionLag,
  SubscribeOptions,
} from '../../core/src/index.js';
import { outOfRange } from './log-errors.js';

/** Pause after a failed batch, milliseconds. */
const RETRY = { firstMs: 100, mostMs: 10_000 };

/** Where the records of one partition come from. */
export interface PartitionSource {
  /** Exact bounds at this moment. */
  bounds(): Promise<PartitionBounds>;
  /**
   * The next records from an offset on, in order and without a gap, within the bounds of the
   * subscription; waits for the first one, and for more as long as the subscription lingers.
   * @returns nothing when aborted, or when it was woken for nothing
   * @throws AppError `event_log.out_of_range` when the log does not hold the offset
   */
  next(from: bigint, signal: AbortSignal): Promise<readonly LogRecord[]>;
  /** Every offset below is known to be readable; null before anything is known. */
  knownEnd(): bigint | null;
  /** Append time of the record at an offset when it has been read ahead; null otherwise. */
  readAheadMs(offset: bigint): number | null;
  /** Code of the error that met the last attempt to fetch; null when the log answered it. */
  failureCode(): string | null;
}

/** What a reader of one partition works with. */
export interface PartitionReaderOptions {
  readonly source: PartitionSource;
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
  private resolved: bigint | null = null;
  /** Append time of the first record that was handed over and is not resolved. */
  private waitingSinceMs: number | null = null;
  /** Append time of the last record that was handed over. */
  private lastSeenMs: number | null = null;
  /** Code of the error for which the partition could not be taken at the last attempt. */
  private refusal: string | null = null;
  /** Resolves when the batch in hand is finished and nothing more will be read. */
  readonly ended: Promise<void>;

  constructor(private readonly options: PartitionReaderOptions) {
    this.ended = this.run();
  }

  /** Tells the handler by its signal, lets it finish, and reads nothing more. */
  end(): void {
    this.ending.abort();
  }

  /** The next offset that the handler has not resolved; null before it has been asked for. */
  get nextOffset(): bigint | null {
    return this.resolved;
  }

  /** How far the handler is behind what the log is known to hold. */
  lag(): PartitionLag {
    const { topic, partition, source } = this.options;
    const { resolved } = this;
    const end = source.knownEnd();
    const unreadable = this.refusal ?? source.failureCode();
    if (end === null || resolved === null) {
      return {
        topic,
        partition,
        events: null,
        oldestAppendedAtMs: this.waitingSinceMs,
        unreadable,
      };
    }
    const events = end > resolved ? end - resolved : 0n;
    const unread = source.readAheadMs(resolved) ?? (events > 0n ? this.lastSeenMs : null);
    return {
      topic,
      partition,
      events,
      oldestAppendedAtMs: this.waitingSinceMs ?? unread,
      unreadable,
    };
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
    this.refusal = this.position === undefined ? codeOfLog(error) : null;
    this.position = undefined;
    // A fence after the end is what the fence is for.
    if (this.ending.signal.aborted && isFence(error)) return;
    subscription.onError(error, { topic, partition });
    if (isFence(error)) await confirmClaim();
  }

  /** @returns false when the handler did not move on */
  private async step(): Promise<boolean> {
    const { topic, partition, source, subscription } = this.options;
    const { signal } = this.ending;
    this.position ??= await this.take();
    this.refusal = null;
    const { epoch, nextOffset } = this.position;
    this.resolved = nextOffset;
    const records = await source.next(nextOffset, signal);
    if (records.length === 0 || signal.aborted) return true;
    this.waitingSinceMs = records[0]!.appendedAtMs;
    this.lastSeenMs = records.at(-1)!.appendedAtMs;
    const end = records.at(-1)!.offset + 1n;
    let resolved = nextOffset;
    await subscription.handle({
      topic,
      partition,
      epoch,
      records,
      signal,
      resolve: (next) => {
        assert(next >= resolved && next <= end, `${next} is not within ${resolved} to ${end}`);
        resolved = next;
      },
    });
    this.position = { epoch, nextOffset: resolved };
    this.resolved = resolved;
    const unresolved = records.find(({ offset }) => offset >= resolved);
    this.waitingSinceMs = unresolved?.appendedAtMs ?? null;
    return resolved > nextOffset;
  }

  private async take(): Promise<{ epoch: bigint; nextOffset: bigint }> {
    const { source, topic, partition, subscription } = this.options;
    const bounds = await source.bounds();
    const taken = await subscription.owner.take(topic, partition, bounds);
    if (taken.nextOffset < bounds.earliest || taken.nextOffset > bounds.next) {
      throw outOfRange(
        `the owner of ${topic}/${partition} is at ${taken.nextOffset}, ` +
          `the log holds ${bounds.earliest} to ${bounds.next}`,
      );
    }
    return taken;
  }
}

/** The code of an error of the log itself; null of any other. */
function codeOfLog(error: unknown): string | null {
  return error instanceof AppError && error.code.startsWith('event_log.') ? error.code : null;
}

function isFence(error: unknown): boolean {
  return error instanceof AppError && error.code === 'log.fenced';
}
