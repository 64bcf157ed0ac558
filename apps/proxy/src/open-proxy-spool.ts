import { Counter, Histogram, type Registry } from 'prom-client';

import type { Environment } from '#libs/platform/config';
import type { Runtime } from '#libs/platform/telemetry';
import { SqliteSpool, type SpoolFaults, type SqliteSpoolOptions } from '#libs/spool/adapters';

/** Upper bounds of the commit histogram, seconds. */
const COMMIT_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2, 10];

/** How a process opens the spool of its proxy. */
export interface ProxySpoolOptions extends Pick<
  SqliteSpoolOptions,
  'directory' | 'ack' | 'capBytes' | 'keepAckedMs' | 'keepAckedBytes' | 'onFatal'
> {
  readonly runtime: Runtime;
  readonly environment: Environment;
}

/**
 * Opens the spool with the metrics `spool_commit_seconds` and `spool_commit_failures_total`, and with
 * the faults that a test has put into the environment.
 * @throws AppError as `SqliteSpool.open`
 */
export function openProxySpool(options: ProxySpoolOptions): Promise<SqliteSpool> {
  const { runtime, environment, ...settings } = options;
  const { clock, random, logger, metrics } = runtime;
  return SqliteSpool.open({
    ...settings,
    clock,
    random,
    logger,
    metrics: spoolMetrics(metrics),
    faults: faultsOf(environment),
  });
}

function spoolMetrics(registry: Registry): NonNullable<SqliteSpoolOptions['metrics']> {
  const registers = [registry];
  const seconds = new Histogram({
    name: 'spool_commit_seconds',
    help: 'Time until a group of records is durable',
    buckets: COMMIT_BUCKETS,
    registers,
  });
  const failures = new Counter({
    name: 'spool_commit_failures_total',
    help: 'Groups of records that could not be stored at once',
    registers,
  });
  return {
    committed: (_records, commitMs) => seconds.observe(commitMs / 1_000),
    failed: () => failures.inc(),
  };
}

function faultsOf(environment: Environment): SpoolFaults | null {
  const { NODE_ENV, FAILPOINTS, FAILPOINTS_RECORD } = environment;
  if (NODE_ENV !== 'test' || FAILPOINTS === undefined) return null;
  return { spec: FAILPOINTS, record: FAILPOINTS_RECORD ?? null };
}
