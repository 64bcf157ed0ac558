import type {
  ClickHouseEngine,
  ClickHouseSession,
  SessionPurpose,
} from '#libs/platform/clickhouse';

/**
 * An engine whose sessions call back before each statement, by its name, and go on when the answer
 * resolves: a test stops, kills or interferes there.
 */
export function watchedEngine(
  engine: ClickHouseEngine,
  before: (name: string) => Promise<void> | void,
): ClickHouseEngine {
  const watched = (session: ClickHouseSession): ClickHouseSession =>
    ({
      rows: async (operation, params) => {
        await before(operation.name);
        return session.rows(operation, params);
      },
      run: async (operation, params) => {
        await before(operation.name);
        return session.run(operation, params);
      },
      insert: async (insert) => {
        await before(insert.name);
        return session.insert(insert);
      },
      close: () => session.close(),
    }) as Pick<ClickHouseSession, 'rows' | 'run' | 'insert' | 'close'> as ClickHouseSession;
  return {
    database: engine.database,
    createDatabase: () => engine.createDatabase(),
    session: (purpose: SessionPurpose) => watched(engine.session(purpose)),
  } as ClickHouseEngine;
}
