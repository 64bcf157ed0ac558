import { Max, Min } from 'class-validator';

import { EnvInteger, EnvText, EnvUrl, ServiceConfig } from '#libs/platform/config';

/** Settings of metering as a process of its own. */
export class MeteringConfig extends ServiceConfig {
  @EnvInteger('PORT', { describe: 'the port to listen on, 0 for a free one', fallback: '8082' })
  @Min(0)
  @Max(65_535)
  port!: number;

  @EnvUrl('DATABASE_URL', ['postgres', 'postgresql'], {
    describe: 'the PostgreSQL of the deployment',
    isSecret: true,
  })
  databaseUrl!: string;

  @EnvUrl('CLICKHOUSE_URL', ['http', 'https'], {
    describe: 'the ClickHouse server that holds the ledger',
    isSecret: true,
  })
  clickhouseUrl!: string;

  @EnvUrl('AUTH_URL', ['http', 'https'], {
    describe: 'where the auth service answers',
    fallback: 'http://127.0.0.1:8081',
  })
  authUrl!: string;

  @EnvUrl('BUDGET_URL', ['http', 'https'], {
    describe: 'where the budget enforcer answers; only its dead letters are asked for',
    fallback: 'http://127.0.0.1:8083',
  })
  budgetUrl!: string;

  @EnvText('ADMIN_API_KEY', {
    describe: 'the operator secret of /api/dead-letters; unset, the operator is shut out',
    fallback: null,
    isSecret: true,
  })
  adminApiKey!: string | null;

  @EnvInteger('METERING_LINGER_MS', {
    describe: 'how long a batch waits for more records while there is little to do',
    fallback: '250',
  })
  @Min(0)
  @Max(1_000)
  lingerMs!: number;
}
