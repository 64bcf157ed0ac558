/** A record to append; the caller has decided its partition. */
export interface LogRecordInput {
  readonly topic: string;
  readonly partition: number;
  /** The business key, kept with the record; it does not choose the partition. */
  readonly key: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly value: Uint8Array;
}

/** A record as read. */
export interface LogRecord extends LogRecordInput {
  /** From 0, growing within a partition. */
  readonly offset: bigint;
  /** When the log appended it, milliseconds UTC; the same at every read. */
  readonly appendedAtMs: number;
}

/** Bounds of one read; at least one record is returned when there is one, whatever its size. */
export interface ReadLimit {
  readonly maxRecords: number;
  readonly maxBytes: number;
}

/** What a partition holds: offsets `earliest` (inclusive) to `next` (exclusive). */
export interface PartitionBounds {
  readonly earliest: bigint;
  readonly next: bigint;
}

/** Records of one partition in offset order, handed over together. */
export interface LogBatch {
  readonly topic: string;
  readonly partition: number;
  /** The epoch that `PartitionOwner.take` returned; every transaction of the handler asserts it. */
  readonly epoch: bigint;
  /** Never empty; `records[0].offset` is the offset the handler asked for. */
  readonly records: readonly LogRecord[];
  /** Aborted when the partition is taken away or the subscription stops. */
  readonly signal: AbortSignal;
  /**
   * Moves the position of this subscription in memory. The durable offset is the handler's, written
   * in its own transaction before this call; a handler that does not call it gets the batch again.
   */
  resolve(nextOffset: bigint): void;
}

/**
 * Where a consumer keeps its offsets and its fence. Implemented in the consumer's own schema.
 */
export abstract class PartitionOwner {
  /**
   * Takes the partition over: raises its epoch, finishes what a former owner left prepared, and
   * returns where to read on. Older epochs can commit nothing from here on.
   */
  abstract take(
    topic: string,
    partition: number,
    bounds: PartitionBounds,
  ): Promise<{ readonly epoch: bigint; readonly nextOffset: bigint }>;
}

/** How a consumer group reads. */
export interface SubscribeOptions {
  /** Members of one group share the partitions; each partition has one member at a time. */
  readonly group: string;
  readonly topics: readonly string[];
  readonly owner: PartitionOwner;
  /** Called for one batch per partition at a time; different partitions may run at once. */
  readonly handle: (batch: LogBatch) => Promise<void>;
  /** Told of each failure of a partition; it is retried with back-off until it succeeds. */
  readonly onError: (error: unknown, at: { topic: string; partition: number }) => void;
  readonly maxRecords: number;
  readonly maxBytes: number;
  /**
   * How long a batch may wait for more records, milliseconds; 0 hands over what is there. Asked before
   * each batch.
   */
  readonly lingerMs: () => number;
  /**
   * Holds these partitions of each topic from start to stop, outside of the group's dealing: whoever
   * runs the processes decides who reads what, and nothing is ever dealt out anew. The fence of the
   * owner is what keeps two holders of one partition apart.
   */
  readonly fixedPartitions?: readonly number[];
}

/** How far the reader of one partition is behind. */
export interface PartitionLag {
  readonly topic: string;
  readonly partition: number;
  /**
   * Records that the handler has not resolved, of those the log held when this process last heard from
   * it; null before the owner has said where it reads on.
   */
  readonly events: bigint | null;
  /**
   * Append time of the oldest record that is not resolved, milliseconds UTC; null = there is none. A
   * record that could not be read yet counts with the time of the last one before it.
   */
  readonly oldestAppendedAtMs: number | null;
  /**
   * Code of the error with which the log met the last attempt to read the partition; null while it
   * gives what there is. Attempts go on, and other partitions are not held up.
   */
  readonly unreadable: string | null;
}

/** A running member of a group. */
export interface LogSubscription {
  /** Partitions held now, as `topic/partition`. */
  assigned(): readonly string[];
  /** The lag of each partition held now, as far as this process knows. */
  lag(): readonly PartitionLag[];
  /** Finishes the batches in hand, leaves the group, resolves when both are done. */
  stop(): Promise<void>;
}

/**
 * The event log: partitioned, append-only, durable. It owns group membership, never offsets.
 * Two adapters (PostgreSQL, Kafka) pass one contract suite.
 */
export abstract class EventLog {
  /**
   * Appends in the given order per partition; resolves only when the records are durable. After a
   * rejection the records may or may not be there: send the same again, readers drop duplicates.
   */
  abstract append(records: readonly LogRecordInput[]): Promise<void>;
  /**
   * Reads from an offset on, in offset order, without gaps for the records that exist.
   * @throws AppError `event_log.out_of_range` when `fromOffset` is below the earliest kept offset or
   *   beyond the next one
   */
  abstract read(
    topic: string,
    partition: number,
    fromOffset: bigint,
    limit: ReadLimit,
  ): Promise<readonly LogRecord[]>;
  /** Exact bounds at this moment. */
  abstract bounds(topic: string, partition: number): Promise<PartitionBounds>;
  /** How many partitions the topic was provisioned with. @throws AppError `event_log.unknown_topic` */
  abstract partitions(topic: string): Promise<number>;
  /**
   * Drops the oldest records of a partition that are below `beforeOffset` and older than
   * `keepSeconds`, never one younger than 7 days, in one bounded step. A log with a retention of its
   * own drops nothing.
   * @param beforeOffset what the partition's consumer has durably stored as its next offset
   * @returns how many went; 0 when nothing more is due
   */
  abstract retire(
    topic: string,
    partition: number,
    beforeOffset: bigint,
    keepSeconds: number,
  ): Promise<number>;
  /**
   * How long the log keeps records of the topic whether or not they were read, milliseconds.
   * @returns null when a record that was not read is never dropped
   */
  async retentionMs(_topic: string): Promise<number | null> {
    return null;
  }
  /**
   * Joins a group and consumes until stopped.
   * @throws AppError `event_log.fixed_unsupported` for fixed partitions where the log cannot
   */
  abstract subscribe(options: SubscribeOptions): Promise<LogSubscription>;
  /** Stops every subscription and closes the connections. */
  abstract close(): Promise<void>;
}
