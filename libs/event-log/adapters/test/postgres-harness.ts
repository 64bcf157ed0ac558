import type { ConsumerStore, EventLogHarness } from '#libs/event-log/contract';
import type { EventLog } from '#libs/event-log/core';
import { PostgresEventLog, provisionTopics } from '#libs/event-log/adapters';
import { SystemClock, SystemRandom } from '#libs/kernel';
import type { Database } from '#libs/platform/postgres';
import { startTestPostgres, type TestPostgres } from '#libs/testing';
import { POSTGRES_MIGRATIONS } from '#migrations';
import { consumerStore, CreateConsumer } from './consumer-store.js';

/** The event log in PostgreSQL and a consumer in schema `metering`. */
export class PostgresHarness implements EventLogHarness {
  readonly store: ConsumerStore;
  private readonly logs: EventLog[] = [];
  private topics = 0;

  private constructor(private readonly postgres: TestPostgres) {
    this.store = consumerStore(postgres.database('metering'));
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

  database(): Database {
    return this.postgres.database('proxy');
  }

  async createTopic(partitions: number): Promise<string> {
    this.topics += 1;
    const topic = `topic-${this.topics}`;
    await provisionTopics(this.postgres.url, { [topic]: partitions });
    return topic;
  }

  async open(): Promise<EventLog> {
    const log = new PostgresEventLog({
      database: this.database(),
      clock: new SystemClock(),
      random: new SystemRandom(),
      heartbeatMs: 100,
    });
    this.logs.push(log);
    return log;
  }

  async dropBelow(topic: string, partition: number, offset: bigint): Promise<void> {
    const statement = 'SELECT event_log.trim_before($1, $2, $3)';
    await this.postgres.database(null).query(statement, [topic, partition, offset]);
  }

  /** Ends a connection of the log as a death of its process would. */
  async breakSessions(): Promise<void> {
    await this.postgres.database(null).query(
      `SELECT pg_terminate_backend(pid) FROM pg_locks
       WHERE locktype = 'advisory' AND classid = 1819043188`,
    );
  }

  async stop(): Promise<void> {
    await Promise.all(this.logs.map((log) => log.close()));
    await this.postgres.stop();
  }
}
