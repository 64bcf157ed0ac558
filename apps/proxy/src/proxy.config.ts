import { IsIn, Max, Min, MinLength } from 'class-validator';

import { EnvAddresses, EnvInteger, EnvText, EnvUrl } from '#libs/platform/config';

/** Settings of the proxy as a process of its own. */
export class ProxyConfig {
  @EnvInteger('PORT', { describe: 'the port to listen on, 0 for a free one', fallback: '8080' })
  @Min(0)
  @Max(65_535)
  port!: number;

  @EnvText('HOST', { describe: 'the address to listen on', fallback: '127.0.0.1' })
  host!: string;

  @EnvUrl('PUBLIC_URL', ['http', 'https'], {
    describe: 'the origin callers use; the listening address when unset',
    fallback: null,
  })
  publicUrl!: string | null;

  @EnvUrl('DATABASE_URL', ['postgres', 'postgresql'], {
    describe: 'the PostgreSQL of the deployment',
    isSecret: true,
  })
  databaseUrl!: string;

  @EnvUrl('AUTH_URL', ['http', 'https'], {
    describe: 'where the auth service answers',
    fallback: 'http://127.0.0.1:8081',
  })
  authUrl!: string;

  @EnvUrl('BUDGET_URL', ['http', 'https'], {
    describe: 'where budget-enforcer answers',
    fallback: 'http://127.0.0.1:8083',
  })
  budgetUrl!: string;

  @EnvText('SERVICE_SECRET', {
    describe: 'shared by the services, at least 16 characters',
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
    describe: 'the operator secret; without it the scheme ADMIN answers 401',
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

  @EnvInteger('LOG_PARTITIONS', {
    describe: 'partitions of the event log, fixed for the life of a deployment',
    fallback: '12',
  })
  @Min(1)
  @Max(64)
  logPartitions!: number;

  @EnvText('SPOOL_DIR', { describe: 'the folder of the spool, on a disk of its own process' })
  spoolDir!: string;

  @EnvText('SPOOL_ACK', {
    describe: 'when an answer may end: process (written) or fsync (on disk)',
    fallback: 'fsync',
  })
  @IsIn(['process', 'fsync'])
  spoolAck!: 'process' | 'fsync';

  @EnvInteger('DRAIN_SECONDS', {
    describe: 'how long running requests may take at shutdown',
    fallback: '60',
  })
  @Min(0)
  @Max(900)
  drainSeconds!: number;

  @EnvAddresses('KAFKA_BROKERS', {
    describe: 'the Kafka of the event log, host:port each; the log is in PostgreSQL when unset',
    fallback: null,
  })
  kafkaBrokers!: readonly string[] | null;

  @EnvText('LOG_LEVEL', { describe: 'silent, error, warn, info or debug', fallback: 'info' })
  @IsIn(['silent', 'error', 'warn', 'info', 'debug'])
  logLevel!: string;
}
