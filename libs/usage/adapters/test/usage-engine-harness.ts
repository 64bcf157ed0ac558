import type {
  ClickHouseEngine,
  ClickHouseSession,
  SessionPurpose,
} from '#libs/platform/clickhouse';
import { ClickHouseUsageReader, ClickHouseUsageStore } from '#libs/usage/adapters';
import type { UsageHarness } from '#libs/usage/contract';

/** Settings that would spoil the next answers and swallow the next insert if they took effect. */
const DISTURBANCE =
  'SET output_format_json_quote_64bit_integers = 0, output_format_json_quote_decimals = 0,' +
  " date_time_output_format = 'unix_timestamp', insert_deduplication_token = 'left over'";

/** A ledger in a database of its own, and the sessions that the adapters opened on it. */
export async function openUsageHarness(
  engine: ClickHouseEngine,
  drop: () => Promise<void>,
): Promise<UsageHarness> {
  const sessions: ClickHouseSession[] = [];
  const tracked = {
    database: engine.database,
    createDatabase: () => engine.createDatabase(),
    session: (purpose: SessionPurpose) => {
      const session = engine.session(purpose);
      sessions.push(session);
      return session;
    },
  } as ClickHouseEngine;

  const first = new ClickHouseUsageStore(tracked);
  await first.migrate();
  return {
    openStore: () => new ClickHouseUsageStore(tracked),
    openReader: () => new ClickHouseUsageReader(tracked),
    disturbSessions: async () => {
      for (const session of sessions) await session.run({ name: 'test.disturb', sql: DISTURBANCE });
    },
    slowRead: async () => {
      const session = tracked.session('read');
      await session.rows({ name: 'test.slow_read', sql: 'SELECT sleep(2) AS slept' });
    },
    close: async () => {
      for (const session of sessions) await session.close();
      await drop();
    },
  };
}
