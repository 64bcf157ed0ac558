import { untilEngineAnswers, type EngineWait, type NeededEngine } from '#libs/kernel';

import { Database, sqlState, type Queryable } from './database.js';

/**
 * Starting up, shutting down, out of connections, and the class of connection failures; every other
 * answer (a password, a database, a role) stays the same however long one waits.
 * @source PostgreSQL 18 manual, appendix A
 */
const AWAY = /^(57P0[123]|53300|08...)$/;

/** PostgreSQL as what a process cannot start without. */
export function neededPostgres(database: Queryable): NeededEngine {
  return {
    name: 'PostgreSQL',
    ask: () => database.query('SELECT 1'),
    isAway: (error) => {
      const state = sqlState(error);
      return state === null || AWAY.test(state);
    },
  };
}

/**
 * Waits until PostgreSQL lets the login of a URL in.
 * @throws AppError `engine.refused`, `engine.away`
 */
export async function untilPostgresAnswers(url: string, wait: EngineWait): Promise<void> {
  const applicationName = 'tollgate-migrate';
  const database = new Database({ url, schema: null, applicationName, maxConnections: 1 });
  try {
    await untilEngineAnswers(neededPostgres(database), wait);
  } finally {
    await database.close();
  }
}
