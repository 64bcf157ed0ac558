import type { Jobs } from '#libs/jobs/core';
import type { Runtime } from '#libs/platform/telemetry';

import { BullJobQueue, withinMs } from './bullmq/bull-job-queue.js';
import { BullJobWorkers } from './bullmq/bull-job-workers.js';
import type { JobEngine } from './bullmq/job-engine.js';
import { JobMetrics } from './bullmq/job-metrics.js';
import { JobUpkeep } from './bullmq/job-upkeep.js';
import { PostgresJobEngine } from './bullmq/postgres-engine.js';
import { RedisJobEngine } from './bullmq/redis-engine.js';

/** A job whose process gives no sign for this long goes to another one, milliseconds. */
const LOCK_MS = 30_000;
/** Longest wait for the queues to close, milliseconds; an engine that is away does not answer. */
const CLOSE_MS = 1_000;
/** Longest wait for the engine to confirm an addition, milliseconds. */
const ADD_MS = 1_000;

/** Where the jobs of a process are. */
export interface OpenJobsOptions {
  /** `redis://` or `rediss://`; null: schema `jobs` of PostgreSQL. */
  readonly redisUrl: string | null;
  /** Login of the deployment's database, migrated; used when there is no Redis. */
  readonly databaseUrl: string;
  readonly runtime: Pick<Runtime, 'clock' | 'logger' | 'metrics' | 'health'>;
  /** How long a job belongs to a process that gives no sign, milliseconds. @default 30000 */
  readonly lockMs?: number;
  /** Longest wait for the engine to confirm an addition, milliseconds. @default 1000 */
  readonly addMs?: number;
}

/**
 * Opens the jobs of a process on Redis or PostgreSQL, and registers the readiness check `jobs` and
 * the metrics `jobs_*`. An engine that is away hinders nothing: jobs are not added meanwhile, and run
 * when it is back.
 * @throws AppError `jobs.redis_evicts` when Redis answers and may drop jobs by itself; found out later
 *   it stops the jobs and the readiness instead
 */
export async function openJobs(options: OpenJobsOptions): Promise<Jobs> {
  const { redisUrl, databaseUrl, runtime, lockMs = LOCK_MS, addMs = ADD_MS } = options;
  const engine: JobEngine =
    redisUrl === null ? new PostgresJobEngine(databaseUrl) : new RedisJobEngine(redisUrl);
  const { clock, logger } = runtime;
  const metrics = new JobMetrics(runtime.metrics);
  const upkeep = new JobUpkeep({ engine, metrics, clock, logger });
  await upkeep.probe();
  if (!upkeep.isUp()) upkeep.warnAway('no answer at start');
  runtime.health.register('jobs', async () => upkeep.check());
  const queue = new BullJobQueue({ engine, metrics, logger, addMs, isUp: () => upkeep.isUp() });
  const workers = new BullJobWorkers({ engine, metrics, logger, lockMs });
  if (upkeep.isUp()) workers.start();
  upkeep.start(queue, workers);
  let closed: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    // Both at once: a look in hand may take seconds, in which no other job may begin.
    await Promise.all([workers.close(), upkeep.stop()]);
    const queuesClosed = queue.close();
    queuesClosed.catch(() => undefined);
    await withinMs(queuesClosed, CLOSE_MS, undefined);
  };
  return { queue, workers, close: () => (closed ??= close()) };
}
