import type { ConsumerStore, EventLogHarness } from '#libs/event-log/contract';
import type { EventLog } from '#libs/event-log/core';
import { PostgresEventLog, provisionTopics } from '#libs/event-log/adapters';
import { SystemClock, SystemRandom } from '#libs/kernel';
import { PartitionPositions, type Database, type SchemaName } from '#libs/platform/postgres';
import { startTestPostgres, type TestPostgres } from '#libs/testing';
import { POSTGRES_MIGRATIONS } from '#migrations';
import { consumerStore, CreateConsumer } from './consumer-store.js';

/** The event log in PostgreSQL and a consumer in schema `metering`. */
export class PostgresHarness implements EventLogHarness {
  readonly store: ConsumerStore;
  private readonly logs: { readonly log: EventLog; readonly pool: Database }[] = [];
  private readonly pools = new Map<SchemaName | null, Database>();
  private topics = 0;

  private constructor(private readonly postgres: TestPostgres) {
    this.store = consumerStore(this.database('metering'));
  }

  static async start(): Promise<PostgresHarness> {
    const migrations = {
      event_log: POSTGRES_MIGRATIONS.event_log ?? [],
      metering: [CreateConsumer],
    };
    return new PostgresHarness(await startTestPostgres({ migrations }));
  }

  get url(): string {
    return this.postgres.url;
  }

  /** The one pool of a schema that the tests themselves use. */
  database(schema: SchemaName | null = 'proxy'): Database {
    const pool = this.pools.get(schema) ?? this.postgres.database(schema);
    this.pools.set(schema, pool);
    return pool;
  }

  /** Makes the records below an offset look as if they had been appended so long before. */
  async age(topic: string, partition: number, before: bigint, age: string): Promise<void> {
    await this.database(null).query(
      `UPDATE event_log.log_record r SET appended_at = r.appended_at - $4::interval
       FROM event_log.log_partition p
       WHERE p.partition_id = r.partition_id AND p.topic = $1 AND p.partition = $2
         AND r."offset" < $3`,
      [topic, partition, before, age],
    );
  }

  /** Stores where the consumer in schema `metering` reads on. */
  async read(topic: string, partition: number, nextOffset: bigint): Promise<void> {
    await new PartitionPositions().take(this.database('metering'), topic, partition, nextOffset);
  }

  async createTopic(partitions: number): Promise<string> {
    this.topics += 1;
    const topic = `topic-${this.topics}`;
    await provisionTopics(this.postgres.url, { [topic]: partitions });
    return topic;
  }

  open(): Promise<EventLog> {
    return this.openAs('proxy');
  }

  async openAs(schema: 'proxy' | 'metering'): Promise<EventLog> {
    const pool = this.postgres.database(schema);
    const log = new PostgresEventLog({
      database: pool,
      clock: new SystemClock(),
      random: new SystemRandom(),
      heartbeatMs: 100,
      // A process of tests that stands still for a moment stays a member.
      sessionMs: 60_000,
    });
    this.logs.push({ log, pool });
    return log;
  }

  async dropBelow(topic: string, partition: number, offset: bigint): Promise<void> {
    const statement = 'SELECT event_log.trim_before($1, $2, $3)';
    await this.database(null).query(statement, [topic, partition, offset]);
  }

  /** Ends a connection of the log as a death of its process would. */
  async breakSessions(): Promise<void> {
    await this.database(null).query(
      `SELECT pg_terminate_backend(pid) FROM pg_locks
       WHERE locktype = 'advisory' AND classid = 1819043188`,
    );
  }

  /** Ends what a test has opened, with its connections: a server has few of them. */
  async closeLogs(): Promise<void> {
    const opened = this.logs.splice(0);
    await Promise.all(opened.map(({ log, pool }) => log.close().then(() => pool.close())));
  }

  async stop(): Promise<void> {
    await this.closeLogs();
    await this.postgres.stop();
  }
}
