/** A worker of enforcement jobs; its environment names the fault that ends it. */
import { openJobs } from '#libs/jobs/adapters';
import { createRuntime } from '#libs/platform/telemetry';

const jobs = await openJobs({
  redisUrl: process.argv[2]!,
  databaseUrl: 'postgres://127.0.0.1:1/none',
  runtime: createRuntime({ service: 'doomed', partitions: 1, logLevel: 'silent' }),
  lockMs: 300,
});
jobs.workers.process('enforce-budget', async () => undefined, { concurrency: 1, timeoutMs: 1_000 });
