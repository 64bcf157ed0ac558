import { IsIn, Max, Min, MinLength } from 'class-validator';

import { EnvInteger, EnvText, EnvUrl } from '#libs/platform/config';

/** Settings of the budget guard as a process of its own. */
export class BudgetEnforcerConfig {
  /** TCP port, 0 = any free one. */
  @EnvInteger('PORT', { describe: 'a TCP port, 0 for any free one', fallback: '8083' })
  @Min(0)
  @Max(65_535)
  port!: number;

  /** Address to listen on. */
  @EnvText('HOST', { describe: 'the address to listen on', fallback: '127.0.0.1' })
  host!: string;

  /** Login of the database; connections act as role `tollgate_budget`. */
  @EnvUrl('DATABASE_URL', ['postgres', 'postgresql'], {
    describe: 'the PostgreSQL of the deployment, migrated',
    isSecret: true,
  })
  databaseUrl!: string;

  /** Shared by the services of a deployment. */
  @EnvText('SERVICE_SECRET', {
    describe: 'the secret that services show each other, at least 16 characters',
    isSecret: true,
  })
  @MinLength(16)
  serviceSecret!: string;

  /** Opens `/metrics` beside the service's own address; null = only loopback may read them. */
  @EnvText('METRICS_TOKEN', {
    describe: 'opens /metrics beyond loopback',
    fallback: null,
    isSecret: true,
  })
  metricsToken!: string | null;

  /** Partitions of the partitioned topics. */
  @EnvInteger('LOG_PARTITIONS', {
    describe: 'partitions of the event log, fixed for the life of the deployment',
    fallback: '12',
  })
  @Min(1)
  @Max(64)
  logPartitions!: number;

  /** Least level that is logged. */
  @EnvText('LOG_LEVEL', { describe: 'silent, error, warn, info or debug', fallback: 'info' })
  @IsIn(['silent', 'error', 'warn', 'info', 'debug'])
  logLevel!: string;
}
