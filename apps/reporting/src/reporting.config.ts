import { IsIn, Max, Min, MinLength } from 'class-validator';

import { EnvInteger, EnvText, EnvUrl } from '#libs/platform/config';

/** Settings of reporting as a process of its own. */
export class ReportingConfig {
  @EnvInteger('PORT', { describe: 'the port to listen on, 0 for a free one', fallback: '8084' })
  @Min(0)
  @Max(65_535)
  port!: number;

  @EnvText('HOST', { describe: 'the address to listen on', fallback: '127.0.0.1' })
  host!: string;

  @EnvUrl('CLICKHOUSE_URL', ['http', 'https'], {
    describe: 'the ClickHouse server, with a user that only reads',
    isSecret: true,
  })
  clickhouseUrl!: string;

  @EnvUrl('AUTH_URL', ['http', 'https'], {
    describe: 'where auth listens',
    fallback: 'http://127.0.0.1:8081',
  })
  authUrl!: string;

  @EnvUrl('METERING_URL', ['http', 'https'], {
    describe: 'where metering listens',
    fallback: 'http://127.0.0.1:8082',
  })
  meteringUrl!: string;

  @EnvText('SERVICE_SECRET', {
    describe: 'the credential between services, at least 16 characters',
    isSecret: true,
  })
  @MinLength(16)
  serviceSecret!: string;

  @EnvText('KEY_PEPPERS', {
    describe: 'peppers of the key index, newest first: v1:<base64>',
    isSecret: true,
  })
  keyPeppers!: string;

  @EnvText('ADMIN_API_KEY', {
    describe: 'the operator secret; unset, the operator is shut out',
    fallback: null,
    isSecret: true,
  })
  adminApiKey!: string | null;

  @EnvText('METRICS_TOKEN', {
    describe: 'opens /metrics beyond loopback',
    fallback: null,
    isSecret: true,
  })
  metricsToken!: string | null;

  @EnvText('ORG_ID', { describe: 'the organisation of the deployment', fallback: 'default' })
  orgId!: string;

  @EnvInteger('LOG_PARTITIONS', { describe: 'partitions of the event log', fallback: '12' })
  @Min(1)
  @Max(64)
  logPartitions!: number;

  @EnvText('LOG_LEVEL', { describe: 'silent, error, warn, info or debug', fallback: 'info' })
  @IsIn(['silent', 'error', 'warn', 'info', 'debug'])
  logLevel!: string;
}
