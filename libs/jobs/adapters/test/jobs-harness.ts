import type { OpenedJobs } from '#libs/jobs/contract';
import { createRuntime } from '#libs/platform/telemetry';

import { openJobs } from '../src/index.js';

/** Opens jobs with a registry of their own, quietly. */
export async function openTestJobs(options: {
  readonly redisUrl: string | null;
  readonly databaseUrl: string;
  readonly addMs?: number;
}): Promise<OpenedJobs> {
  const runtime = createRuntime({ service: 'test', partitions: 1, logLevel: 'silent' });
  const jobs = await openJobs({ ...options, runtime });
  const metric = async (name: string, job: string): Promise<number> => {
    const values = (await runtime.metrics.getSingleMetric(name)!.get()).values;
    return values
      .filter(({ labels }) => labels['job'] === job)
      .reduce((sum, { value }) => sum + value, 0);
  };
  return { ...jobs, metric };
}
