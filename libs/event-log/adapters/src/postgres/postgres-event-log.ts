import { formatUuid, type Clock, type Random } from '#libs/kernel';
import type { Database } from '#libs/platform/postgres';
import {
  EventLog,
  type LogRecord,
  type LogRecordInput,
  type LogSubscription,
  type PartitionBounds,
  type ReadLimit,
  type SubscribeOptions,
} from '../../../core/src/index.js';
import { fixedUnsupported, unknownTopic } from '../log-errors.js';
import { encodeAppend } from './append-encoding.js';
import { AppendSignal } from './append-signal.js';
import { fromDatabaseError } from './database-errors.js';
import { LogTail } from './log-tail.js';
import { MemberSession } from './member-session.js';
import { PostgresSubscription } from './postgres-subscription.js';

/** How the log in PostgreSQL is reached. */
export interface PostgresEventLogOptions {
  /** A pool of any service's role; one of its connections is taken for good once anybody subscribes. */
  readonly database: Database;
  readonly clock: Clock;
  readonly random: Random;
  /** Shared by the logs of one process, so that readers wake at once. @default one of its own */
  readonly signal?: AppendSignal;
  /** Pause between heartbeats of a member, milliseconds. @default 1000 */
  readonly heartbeatMs?: number;
  /** After this long without a heartbeat a member counts as dead, milliseconds. @default 10000 */
  readonly sessionMs?: number;
}

const APPEND = {
  name: 'event_log_append',
  text: 'SELECT topic, "partition", next_offset FROM event_log.append($1, $2, $3, $4, $5)',
};
const READ = {
  name: 'event_log_read',
  text: 'SELECT "offset", appended_at_ms, key, headers, value FROM event_log.read($1, $2, $3, $4, $5)',
};
/** Records dropped per call; about 10 ms of work under the partition's lock. */
const RETIRE_ROWS = 1_000;
const BOUNDS = {
  name: 'event_log_bounds',
  text: 'SELECT earliest_offset, next_offset FROM event_log.bounds($1, $2)',
};

interface TailRow extends Record<string, unknown> {
  readonly topic: string;
  readonly partition: number;
  readonly next_offset: bigint;
}

interface RecordRow extends Record<string, unknown> {
  readonly offset: bigint;
  readonly appended_at_ms: bigint;
  readonly key: string;
  readonly headers: string;
  readonly value: Buffer;
}

/** The event log in schema `event_log` of PostgreSQL, reached through its functions alone. */
export class PostgresEventLog extends EventLog {
  private readonly database: Database;
  private readonly signal: AppendSignal;
  private readonly tail: LogTail;
  private readonly session: MemberSession;
  private readonly subscriptions = new Set<PostgresSubscription>();

  constructor(private readonly options: PostgresEventLogOptions) {
    super();
    this.database = options.database;
    this.signal = options.signal ?? new AppendSignal();
    this.tail = new LogTail(this.database, this.signal);
    this.session = new MemberSession(this.database, options.random);
  }

  async append(records: readonly LogRecordInput[]): Promise<void> {
    if (records.length === 0) return;
    const { topics, partitions, targets, lengths, blob } = encodeAppend(records);
    const values = [topics, partitions, targets, lengths, blob];
    const rows = await this.rows<TailRow>(APPEND, values);
    for (const row of rows) this.signal.publish(row.topic, row.partition, row.next_offset);
  }

  async read(
    topic: string,
    partition: number,
    fromOffset: bigint,
    limit: ReadLimit,
  ): Promise<readonly LogRecord[]> {
    const values = [topic, partition, fromOffset, limit.maxRecords, limit.maxBytes];
    const rows = await this.rows<RecordRow>(READ, values);
    return rows.map((row) => ({
      topic,
      partition,
      offset: row.offset,
      appendedAtMs: Number(row.appended_at_ms),
      key: row.key,
      headers: JSON.parse(row.headers) as Record<string, string>,
      value: row.value,
    }));
  }

  async bounds(topic: string, partition: number): Promise<PartitionBounds> {
    const [row] = await this.rows<{ earliest_offset: bigint; next_offset: bigint }>(BOUNDS, [
      topic,
      partition,
    ]);
    if (row === undefined) throw unknownTopic(`no partition ${topic}/${partition}`);
    return { earliest: row.earliest_offset, next: row.next_offset };
  }

  async partitions(topic: string): Promise<number> {
    const text = 'SELECT event_log.partitions($1) AS partitions';
    const [row] = await this.rows<{ partitions: number | null }>(
      { name: 'event_log_count', text },
      [topic],
    );
    if (row?.partitions == null) throw unknownTopic(`no topic ${topic}`);
    return row.partitions;
  }

  async retire(
    topic: string,
    partition: number,
    beforeOffset: bigint,
    keepSeconds: number,
  ): Promise<number> {
    const text = 'SELECT event_log.retire($1, $2, $3, $4, $5) AS retired';
    const [row] = await this.rows<{ retired: number }>({ name: 'event_log_retire', text }, [
      topic,
      partition,
      beforeOffset,
      keepSeconds,
      RETIRE_ROWS,
    ]);
    return row!.retired;
  }

  async subscribe(options: SubscribeOptions): Promise<LogSubscription> {
    if (options.fixedPartitions !== undefined) throw fixedUnsupported();
    for (const topic of options.topics) await this.partitions(topic);
    const { clock, random, heartbeatMs = 1_000, sessionMs = 10_000 } = this.options;
    const memberId = formatUuid(random.bytes(16));
    const subscription = new PostgresSubscription(
      { memberId, session: this.session, clock, heartbeatMs, sessionMs },
      { log: this, tail: this.tail, random, subscription: options },
      () => this.subscriptions.delete(subscription),
    );
    this.subscriptions.add(subscription);
    try {
      await subscription.start();
    } catch (error) {
      this.subscriptions.delete(subscription);
      throw fromDatabaseError(error);
    }
    return subscription;
  }

  /** Stops the subscriptions and closes the connection of the memberships; the pool stays open. */
  async close(): Promise<void> {
    await Promise.all([...this.subscriptions].map((subscription) => subscription.stop()));
    await this.tail.close();
    await this.session.close();
  }

  private async rows<Row extends Record<string, unknown>>(
    statement: { readonly name: string; readonly text: string },
    values: readonly unknown[],
  ): Promise<Row[]> {
    try {
      return (await this.database.query<Row>(statement, values)).rows;
    } catch (error) {
      throw fromDatabaseError(error);
    }
  }
}
