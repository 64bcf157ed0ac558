import { IsIn, Max, Min } from 'class-validator';

import { EnvInteger, EnvText, EnvUrl, ServiceConfig } from '#libs/platform/config';

/** Settings of the proxy as a process of its own. */
export class ProxyConfig extends ServiceConfig {
  @EnvInteger('PORT', { describe: 'the port to listen on, 0 for a free one', fallback: '8080' })
  @Min(0)
  @Max(65_535)
  port!: number;

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

  @EnvText('SPOOL_DIR', { describe: 'the folder of the spool, on a disk of its own process' })
  spoolDir!: string;

  @EnvText('SPOOL_ACK', {
    describe: 'when an answer may end: process (written) or fsync (on disk)',
    fallback: 'fsync',
  })
  @IsIn(['process', 'fsync'])
  spoolAck!: 'process' | 'fsync';

  @EnvInteger('SPOOL_CAP_BYTES', {
    describe: 'unpublished bytes of the spool at which requests are refused',
    fallback: '4294967296',
  })
  @Min(1_048_576)
  @Max(2 ** 40)
  spoolCapBytes!: number;

  @EnvInteger('SPOOL_KEEP_HOURS', {
    describe: 'how long published events are kept to be sent again',
    fallback: '24',
  })
  @Min(1)
  @Max(720)
  spoolKeepHours!: number;

  @EnvInteger('SPOOL_KEEP_BYTES', {
    describe: 'bytes of published events above which the oldest go earlier',
    fallback: '1073741824',
  })
  @Min(1_048_576)
  @Max(2 ** 40)
  spoolKeepBytes!: number;

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
