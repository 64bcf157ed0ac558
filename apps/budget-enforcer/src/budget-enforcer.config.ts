import { Max, Min } from 'class-validator';

import { EnvInteger, EnvUrl, ServiceConfig } from '#libs/platform/config';

/** Settings of the budget guard as a process of its own. */
export class BudgetEnforcerConfig extends ServiceConfig {
  /** TCP port, 0 = any free one. */
  @EnvInteger('PORT', { describe: 'a TCP port, 0 for any free one', fallback: '8083' })
  @Min(0)
  @Max(65_535)
  port!: number;

  /** Login of the database; connections act as role `tollgate_budget`. */
  @EnvUrl('DATABASE_URL', ['postgres', 'postgresql'], {
    describe: 'the PostgreSQL of the deployment, migrated',
    isSecret: true,
  })
  databaseUrl!: string;

  @EnvUrl('METERING_URL', ['http', 'https'], {
    describe: 'where metering is, which is asked for rated batches that are missing',
    fallback: 'http://127.0.0.1:8082',
  })
  meteringUrl!: string;

  /** How long rated batches wait behind a missing one before it is asked for, milliseconds. */
  @EnvInteger('BUDGET_REPLAY_AFTER_MS', {
    describe: 'how long rated batches wait behind a missing one before it is asked for',
    fallback: '30000',
  })
  @Min(100)
  @Max(600_000)
  replayAfterMs!: number;
}
