import type {
  EventLog,
  LogRecord,
  PartitionBounds,
  SubscribeOptions,
} from '../../../core/src/index.js';
import type { PartitionSource } from '../partition-reader.js';
import type { LogTail } from './log-tail.js';

/** What a partition is read through. */
export interface PostgresSourceOptions {
  readonly log: EventLog;
  readonly tail: LogTail;
  readonly subscription: SubscribeOptions;
}

/** One partition of the log in PostgreSQL: waits for the tail to move, then reads. */
export class PostgresPartitionSource implements PartitionSource {
  constructor(
    private readonly options: PostgresSourceOptions,
    private readonly topic: string,
    private readonly partition: number,
  ) {}

  async bounds(): Promise<PartitionBounds> {
    const { log, tail } = this.options;
    const bounds = await log.bounds(this.topic, this.partition);
    tail.observe(this.topic, this.partition, bounds.next);
    return bounds;
  }

  async next(from: bigint, signal: AbortSignal): Promise<readonly LogRecord[]> {
    const { log, tail, subscription } = this.options;
    const { maxRecords, maxBytes } = subscription;
    await tail.waitFor(this.topic, this.partition, from, signal);
    const lingerMs = subscription.lingerMs();
    if (lingerMs > 0) {
      const last = from + BigInt(maxRecords) - 1n;
      await tail.waitFor(this.topic, this.partition, last, signal, lingerMs);
    }
    if (signal.aborted) return [];
    return log.read(this.topic, this.partition, from, { maxRecords, maxBytes });
  }

  knownEnd(): bigint | null {
    return this.options.tail.knownEnd(this.topic, this.partition);
  }

  /** Nothing is read before it is handed over. */
  readAheadMs(): null {
    return null;
  }

  /** What cannot be read is met again when the partition is taken. */
  failureCode(): null {
    return null;
  }
}
