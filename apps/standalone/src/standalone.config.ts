import { IsIn, Max, Min, MinLength, ValidateIf } from 'class-validator';

import { EnvFlag, EnvInteger, EnvText, EnvUrl, KafkaConfig } from '#libs/platform/config';

/** Settings of the five services in one process; every one has a default that works. */
export class StandaloneConfig extends KafkaConfig {
  @EnvInteger('PORT', { describe: 'the port to listen on, 0 for a free one', fallback: '8080' })
  @Min(0)
  @Max(65_535)
  port!: number;

  @EnvText('HOST', { describe: 'the address to listen on', fallback: '127.0.0.1' })
  host!: string;

  @EnvText('DATA_DIR', { describe: 'the folder for all data', fallback: '.tollgate' })
  dataDir!: string;

  @EnvText('ADMIN_API_KEY', {
    describe: 'the operator secret, at least 16 characters; generated when unset',
    fallback: null,
    isSecret: true,
  })
  @ValidateIf((config: StandaloneConfig) => config.adminApiKey !== null)
  @MinLength(16)
  adminApiKey!: string | null;

  @EnvText('KEY_PEPPERS', {
    describe: 'peppers of the key index, newest first: v1:<base64>; generated when unset',
    fallback: null,
    isSecret: true,
  })
  keyPeppers!: string | null;

  @EnvText('METRICS_TOKEN', {
    describe: 'opens /metrics beyond loopback',
    fallback: null,
    isSecret: true,
  })
  metricsToken!: string | null;

  @EnvUrl('DATABASE_URL', ['postgres', 'postgresql'], {
    describe: 'a PostgreSQL to use instead of the embedded one',
    fallback: null,
    isSecret: true,
  })
  databaseUrl!: string | null;

  @EnvUrl('CLICKHOUSE_URL', ['http', 'https'], {
    describe: 'a ClickHouse to use instead of the embedded one',
    fallback: null,
    isSecret: true,
  })
  clickhouseUrl!: string | null;

  @EnvUrl('SIMULATOR_URL', ['http', 'https'], {
    describe: 'a running simulator to use instead of starting one',
    fallback: null,
  })
  simulatorUrl!: string | null;

  @EnvText('CATALOG_FILE', {
    describe: 'the catalogue of models and providers, JSON; a packaged one when unset',
    fallback: null,
  })
  catalogFile!: string | null;

  @EnvText('PRICE_SHEETS_DIR', {
    describe: 'the folder of the price sheets, JSON; a packaged one when unset',
    fallback: null,
  })
  priceSheetsDir!: string | null;

  @EnvInteger('LOG_PARTITIONS', {
    describe: 'partitions of the event log, fixed at first start',
    fallback: '3',
  })
  @Min(1)
  @Max(64)
  logPartitions!: number;

  @EnvUrl('REDIS_URL', ['redis', 'rediss'], {
    describe: 'the Redis of the jobs; they are in PostgreSQL when unset',
    fallback: null,
    isSecret: true,
  })
  redisUrl!: string | null;

  @EnvText('LOG_LEVEL', { describe: 'silent, error, warn, info or debug', fallback: 'warn' })
  @IsIn(['silent', 'error', 'warn', 'info', 'debug'])
  logLevel!: string;

  @EnvText('SPOOL_ACK', {
    describe: 'when an answer may end: process (written) or fsync (on disk)',
    fallback: 'fsync',
  })
  @IsIn(['process', 'fsync'])
  spoolAck!: 'process' | 'fsync';

  @EnvFlag('TRUST_X_USER_ID', {
    describe:
      'whether X-User-ID is believed without a credential; default: on loopback outside production',
    fallback: null,
  })
  trustUserIdHeader!: boolean | null;

  @EnvText('NODE_ENV', {
    describe: 'production, development or test; production never believes X-User-ID by itself',
    fallback: 'development',
  })
  nodeEnv!: string;

  @EnvInteger('UPSTREAM_CONNECTIONS', {
    describe: 'connections to one provider at most, one call on each; further calls wait',
    fallback: '1024',
  })
  @Min(1)
  @Max(16_384)
  upstreamConnections!: number;

  @EnvInteger('DRAIN_SECONDS', {
    describe: 'how long running requests may take at shutdown',
    fallback: '60',
  })
  @Min(0)
  @Max(900)
  drainSeconds!: number;
}
