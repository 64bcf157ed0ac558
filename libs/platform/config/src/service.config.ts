import { IsIn, Max, Min, MinLength } from 'class-validator';

import { EnvInteger, EnvText, EnvUrl } from './env-variable.js';
import { KafkaConfig } from './kafka.config.js';

/** Settings that every service has as a process of its own; each adds its port and its engines. */
export class ServiceConfig extends KafkaConfig {
  @EnvText('HOST', { describe: 'the address to listen on', fallback: '127.0.0.1' })
  host!: string;

  @EnvText('SERVICE_SECRET', {
    describe: 'the secret that services show each other, at least 16 characters',
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

  @EnvUrl('REDIS_URL', ['redis', 'rediss'], {
    describe: 'the Redis of the jobs; they are in PostgreSQL when unset',
    fallback: null,
    isSecret: true,
  })
  redisUrl!: string | null;

  @EnvText('LOG_LEVEL', { describe: 'silent, error, warn, info or debug', fallback: 'info' })
  @IsIn(['silent', 'error', 'warn', 'info', 'debug'])
  logLevel!: string;
}
