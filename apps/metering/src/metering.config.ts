import { IsIn, Max, Min, MinLength } from 'class-validator';

import { EnvInteger, EnvText, EnvUrl } from '#libs/platform/config';

/** Settings of metering as a process of its own. */
export class MeteringConfig {
  @EnvInteger('PORT', { describe: 'the port to listen on, 0 for a free one', fallback: '8082' })
  @Min(0)
  @Max(65_535)
  port!: number;

  @EnvText('HOST', { describe: 'the address to listen on', fallback: '127.0.0.1' })
  host!: string;

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

  @EnvText('SERVICE_SECRET', {
    describe: 'shared by the services, at least 16 characters',
    isSecret: true,
  })
  @MinLength(16)
  serviceSecret!: string;

  @EnvText('METRICS_TOKEN', {
    describe: 'opens /metrics beyond loopback',
    fallback: null,
    isSecret: true,
  })
  metricsToken!: string | null;

  @EnvInteger('LOG_PARTITIONS', {
    describe: 'partitions of the event log, fixed for the life of a deployment',
    fallback: '12',
  })
  @Min(1)
  @Max(64)
  logPartitions!: number;

  @EnvInteger('METERING_LINGER_MS', {
    describe: 'how long a batch may wait for more records',
    fallback: '250',
  })
  @Min(0)
  @Max(1_000)
  lingerMs!: number;

  @EnvText('LOG_LEVEL', { describe: 'silent, error, warn, info or debug', fallback: 'info' })
  @IsIn(['silent', 'error', 'warn', 'info', 'debug'])
  logLevel!: string;
}
