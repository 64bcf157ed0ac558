import type { RequestCompletedV1 } from '#libs/events';
import { PostgresEventLog } from '#libs/event-log/adapters';
import type { LogRecordInput } from '#libs/event-log/core';
import { SystemClock, SystemRandom } from '#libs/kernel';
import { eventually, openChdbDatabase, type ChdbDatabase, type TestPostgres } from '#libs/testing';
import { ClickHouseUsageStore } from '#libs/usage/adapters';

import {
  FaultyStore,
  ledgerSums,
  startMember,
  startMeteringPostgres,
  type LedgerSums,
  type Member,
  type MemberSettings,
} from './metering-fixture.js';
import { completed, PARTITIONS, SampleEmitter } from './sample-events.js';

/** What one sample attempt is charged, pUSD. */
export const CHARGE = 2_000_000_000n;

/** Engines, one emitter and the members of one test. */
export class MeteringBench {
  readonly clock = new SystemClock();
  readonly emitter = new SampleEmitter();
  private readonly members: Member[] = [];

  private constructor(
    readonly postgres: TestPostgres,
    readonly chdb: ChdbDatabase,
    readonly store: FaultyStore,
  ) {}

  static async open(): Promise<MeteringBench> {
    const postgres = await startMeteringPostgres();
    const chdb = openChdbDatabase();
    return new MeteringBench(
      postgres,
      chdb,
      new FaultyStore(new ClickHouseUsageStore(chdb.engine)),
    );
  }

  async close(): Promise<void> {
    for (const member of this.members) await member.stop();
    await this.store.close();
    await this.chdb.drop();
    await this.postgres.stop();
  }

  async member(settings: MemberSettings = {}): Promise<Member> {
    const started = await startMember(this.postgres.url, this.store, settings);
    this.members.push(started);
    return started;
  }

  sample(number: number, changes: Partial<RequestCompletedV1> = {}): RequestCompletedV1 {
    return completed(number, changes, this.clock.nowMs());
  }

  /** Appends while no member runs. */
  async append(records: readonly LogRecordInput[]): Promise<void> {
    const database = this.postgres.database('metering');
    const log = new PostgresEventLog({ database, clock: this.clock, random: new SystemRandom() });
    await log.append(records);
    await log.close();
  }

  sums(): Promise<LedgerSums> {
    return ledgerSums(this.chdb.engine);
  }

  /** Runs one statement of the ledger's engine. */
  async ledger(sql: string): Promise<void> {
    const session = this.chdb.engine.session('write');
    try {
      await session.run({ name: 'test.statement', sql });
    } finally {
      await session.close();
    }
  }

  /** Waits until everything in the log is behind metering. */
  async caughtUp(at: Member, deadlineMs = 60_000): Promise<void> {
    await eventually(
      async () => {
        const { rows } = await at.database.query<{
          topic: string;
          partition: number;
          next: bigint;
        }>('SELECT topic, partition, next_offset AS next FROM log_position');
        const open = await Promise.all(
          rows.map(async ({ topic, partition, next }) => {
            const bounds = await at.eventLog.bounds(topic, partition);
            return bounds.next > next;
          }),
        );
        return rows.length === 2 * PARTITIONS && !open.includes(true);
      },
      { deadlineMs },
    );
  }

  /** Waits until one partition of `request.completed` has reached an offset. */
  async reached(at: Member, partition: number, next: bigint, deadlineMs: number): Promise<void> {
    await eventually(
      async () => {
        const { rows } = await at.database.query<{ next: bigint }>(
          `SELECT next_offset AS next FROM log_position
           WHERE topic = 'request.completed' AND partition = $1`,
          [partition],
        );
        return (rows[0]?.next ?? 0n) >= next;
      },
      { deadlineMs },
    );
  }
}
