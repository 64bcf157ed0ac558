import { delay, SystemClock } from '#libs/kernel';
import type { EventLog, LogBatch, LogRecordInput, PartitionOwner } from '../../core/src/index.js';

/** A record that a consumer has committed. */
export interface ConsumedRecord {
  readonly partition: number;
  readonly offset: bigint;
  readonly key: string;
}

/** A consumer's own store: offsets, fences and results in one database, shared by all members. */
export interface ConsumerStore {
  readonly owner: PartitionOwner;
  /**
   * One transaction: asserts the epoch, stores the records, moves the offset past them.
   * @throws AppError `log.fenced` when the epoch is lost; a failure when a record is stored already
   */
  commit(batch: LogBatch, records?: LogBatch['records']): Promise<void>;
  /** Everything committed of a topic, in the order of the commits. */
  consumed(topic: string): Promise<readonly ConsumedRecord[]>;
}

/** What an adapter gives to the suite. */
export interface EventLogHarness {
  /** Makes a topic that nobody else uses. */
  createTopic(partitions: number): Promise<string>;
  /** Opens the log as another process would; closed after the test. */
  open(): Promise<EventLog>;
  readonly store: ConsumerStore;
  /** Drops the records of a partition below an offset, as retention does. */
  dropBelow(topic: string, partition: number, offset: bigint): Promise<void>;
}

/** A record whose key, headers and value all carry `label`. */
export function record(topic: string, partition: number, label: string): LogRecordInput {
  return {
    topic,
    partition,
    key: `key-${label}`,
    headers: { ce_id: label, note: 'äöü "quoted" \\ {x}' },
    value: Buffer.concat([Buffer.from([0, 255, 92, 39]), Buffer.from(label)]),
  };
}

/** `count` records labelled from 0 on. */
export function records(topic: string, partition: number, count: number): LogRecordInput[] {
  return Array.from({ length: count }, (_, index) => record(topic, partition, String(index)));
}

/** Waits until a check passes. @throws Error when it does not within the deadline */
export async function until(
  what: string,
  check: () => boolean | Promise<boolean>,
  deadlineMs = 60_000,
): Promise<void> {
  const clock = new SystemClock();
  const endMs = clock.monotonicMs() + deadlineMs;
  while (!(await check())) {
    if (clock.monotonicMs() > endMs) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await delay(5);
  }
}

/** A promise and the function that resolves it. */
export function gate(): { readonly opened: Promise<void>; open(): void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { opened: promise, open: () => resolve() };
}
