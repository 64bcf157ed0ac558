import { Max, Min } from 'class-validator';

import { EnvInteger, EnvText, EnvUrl, ServiceConfig } from '#libs/platform/config';

/** Settings of reporting as a process of its own. */
export class ReportingConfig extends ServiceConfig {
  @EnvInteger('PORT', { describe: 'the port to listen on, 0 for a free one', fallback: '8084' })
  @Min(0)
  @Max(65_535)
  port!: number;

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

  @EnvText('ORG_ID', { describe: 'the organisation of the deployment', fallback: 'default' })
  orgId!: string;
}
