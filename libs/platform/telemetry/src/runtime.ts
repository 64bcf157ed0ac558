import { pino, type Logger } from 'pino';
import { collectDefaultMetrics, Registry } from 'prom-client';

import { SystemRandom, type Clock, type Random } from '#libs/kernel';
import { processEnvironment } from '#libs/platform/config';

import { injectFaults } from './fault-injection.js';
import { HealthChecks } from './health-checks.js';

/** What every part of a process shares: time, chance, log, metrics, readiness. */
export interface Runtime {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: Registry;
  readonly health: HealthChecks;
  /** `LOG_PARTITIONS`: partitions of the partitioned topics, fixed for the life of a deployment. */
  readonly partitions: number;
}

/** How a runtime is made. */
export interface RuntimeOptions {
  /** The service's name, in every log line. */
  readonly service: string;
  readonly partitions: number;
  /** `silent`, `error`, `warn`, `info` or `debug`. */
  readonly logLevel: string;
  readonly clock?: Clock;
  readonly random?: Random;
}

/** Members of a log record that can carry a secret; they are removed wherever they appear. */
const SECRET_PATHS = [
  'authorization',
  'headers.authorization',
  '*.authorization',
  'key',
  'secret',
  'password',
  '*.password',
  '*.secret',
];

/** The runtime of a process, with the faults that its environment asks for; logs go to standard error so that standard output stays for people. */
export function createRuntime(options: RuntimeOptions): Runtime {
  const metrics = new Registry();
  collectDefaultMetrics({ register: metrics });
  return {
    clock: options.clock ?? injectFaults(processEnvironment()),
    random: options.random ?? new SystemRandom(),
    logger: pino(
      {
        level: options.logLevel,
        base: { service: options.service },
        redact: { paths: SECRET_PATHS, remove: true },
      },
      pino.destination({ fd: 2, sync: false }),
    ),
    metrics,
    health: new HealthChecks(),
    partitions: options.partitions,
  };
}
