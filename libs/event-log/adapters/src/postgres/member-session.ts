import type { Random } from '#libs/kernel';
import type { Database, Rows, Session } from '#libs/platform/postgres';
import type { QueryResultRow } from 'pg';

/** Advisory lock space of members; the function `event_log.heartbeat` looks for it. */
const MEMBER_LOCK_SPACE = 1_819_043_188;

/**
 * The connection that stands for this process in all its groups: it holds an advisory lock, which
 * the server frees as soon as the process is gone. Statements on it run one after the other.
 */
export class MemberSession {
  private open: { session: Session; lock: number } | undefined;
  private queue: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly database: Database,
    private readonly random: Random,
  ) {}

  /** Runs a statement; `values` gets the number of the lock that is held while it runs. */
  query<Row extends QueryResultRow>(
    text: string,
    values: (lock: number) => readonly unknown[],
  ): Promise<Rows<Row>> {
    const result = this.queue.then(async () => {
      const { session, lock } = await this.locked();
      return session.query<Row>(text, values(lock));
    });
    this.queue = result.catch(() => undefined);
    return result;
  }

  /** Frees the lock. */
  async close(): Promise<void> {
    await this.queue;
    await this.open?.session.close();
    this.open = undefined;
  }

  private async locked(): Promise<{ session: Session; lock: number }> {
    if (this.open !== undefined && !this.open.session.lost.aborted) return this.open;
    await this.open?.session.close();
    this.open = undefined;
    const session = await this.database.session();
    try {
      const lock = Buffer.from(this.random.bytes(4)).readUInt32BE(0) >>> 1;
      await session.query('SELECT pg_advisory_lock($1, $2)', [MEMBER_LOCK_SPACE, lock]);
      this.open = { session, lock };
      return this.open;
    } catch (error) {
      await session.close();
      throw error;
    }
  }
}
