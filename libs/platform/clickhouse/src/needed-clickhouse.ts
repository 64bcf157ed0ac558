import { AppError, type NeededEngine } from '#libs/kernel';

import type { ClickHouseEngine } from './clickhouse-engine.js';

/** ClickHouse as what a process cannot start without; asking makes the database when it is missing. */
export function neededClickHouse(engine: ClickHouseEngine): NeededEngine {
  return {
    name: 'ClickHouse',
    ask: () => engine.createDatabase(),
    isAway: (error) => error instanceof AppError && error.retryable,
  };
}
