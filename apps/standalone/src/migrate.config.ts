import { Max, Min } from 'class-validator';

import { EnvInteger, EnvUrl, KafkaConfig } from '#libs/platform/config';

/** What the migration needs to know. */
export class MigrateConfig extends KafkaConfig {
  @EnvUrl('DATABASE_URL', ['postgres', 'postgresql'], {
    describe: 'the PostgreSQL to migrate; the login may create roles and schemas',
    isSecret: true,
  })
  databaseUrl!: string;

  @EnvInteger('LOG_PARTITIONS', {
    describe: 'partitions of the event log, fixed for the life of a deployment',
    fallback: '12',
  })
  @Min(1)
  @Max(64)
  logPartitions!: number;
}
