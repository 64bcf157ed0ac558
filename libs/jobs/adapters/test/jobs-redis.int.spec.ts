import { expect, test } from '@jest/globals';
import { Redis } from 'ioredis';

import { jobsContract, type OpenedJobs } from '#libs/jobs/contract';
import type { Job } from '#libs/jobs/core';
import { delay } from '#libs/kernel';
import { eventually, startTestRedis } from '#libs/testing';

import { openTestJobs } from './jobs-harness.js';

/** Never reached: Redis is there. */
const NO_DATABASE = 'postgres://127.0.0.1:1/none';
const LIMITS = { concurrency: 1, timeoutMs: 60_000 };
const PATIENT = { deadlineMs: 60_000 };

jobsContract('Redis', async () => {
  const redis = await startTestRedis();
  const opened: OpenedJobs[] = [];
  return {
    open: async () => {
      const jobs = await openTestJobs({
        redisUrl: redis.url,
        databaseUrl: NO_DATABASE,
        addMs: 60_000,
      });
      opened.push(jobs);
      return jobs;
    },
    stop: async () => {
      await Promise.all(opened.map((jobs) => jobs.close()));
      await redis.stop();
    },
  };
});

test('a Redis that may drop jobs by itself is refused at the start, with what to do', async () => {
  const redis = await startTestRedis({ isOwn: true });
  const client = new Redis(redis.url);
  await client.config('SET', 'maxmemory-policy', 'allkeys-lru');
  await client.quit();
  await expect(openTestJobs({ redisUrl: redis.url, databaseUrl: NO_DATABASE })).rejects.toThrow(
    'set maxmemory-policy noeviction',
  );
  await redis.stop();
});

test('without Redis a process starts; once it is there, jobs are added and run', async () => {
  const redis = await startTestRedis({ isOwn: true });
  await redis.process!.kill();
  const jobs = await openTestJobs({ redisUrl: redis.url, databaseUrl: NO_DATABASE, addMs: 60_000 });
  const runs: Job[] = [];
  jobs.workers.process('late-start', async (job) => void runs.push(job), LIMITS);
  expect(await jobs.queue.add('late-start', {}, { id: '1' })).toBe(false);
  expect(await jobs.metric('jobs_not_added_total', 'late-start')).toBe(1);
  await redis.process!.start();
  await eventually(() => jobs.queue.add('late-start', {}, { id: '2' }), PATIENT);
  await eventually(() => expect(runs).toHaveLength(1), PATIENT);
  await jobs.close();
  await redis.stop();
});

test('when Redis dies or freezes, adding ends within its bound and nothing piles up', async () => {
  const redis = await startTestRedis({ isOwn: true });
  const jobs = await openTestJobs({ redisUrl: redis.url, databaseUrl: NO_DATABASE });
  const runs: Job[] = [];
  jobs.workers.process('outage', async (job) => void runs.push(job), LIMITS);
  await eventually(() => jobs.queue.add('outage', {}, { id: 'before' }), PATIENT);
  await eventually(() => expect(runs.length).toBeGreaterThan(0), PATIENT);
  const missed = await jobs.metric('jobs_not_added_total', 'outage');

  redis.process!.pause();
  const additions = Array.from({ length: 1_000 }, (_, n) =>
    jobs.queue.add('outage', { n }, { id: `frozen-${n}` }),
  );
  // Set after theirs, on the same clock: a machine that stalls delays both alike.
  const bound = delay(2_000).then((): readonly unknown[] => ['beyond the bound']);
  const answers: readonly unknown[] = await Promise.race([Promise.all(additions), bound]);
  expect(new Set<unknown>(answers)).toEqual(new Set([false]));
  expect(await jobs.metric('jobs_not_added_total', 'outage')).toBe(missed + 1_000);
  redis.process!.resume();

  await redis.process!.kill();
  expect(await jobs.queue.add('outage', {}, { id: 'dead' })).toBe(false);
  await redis.process!.start();
  await eventually(() => jobs.queue.add('outage', { after: true }, { id: 'after' }), PATIENT);
  await eventually(
    () => expect(runs.some(({ data }) => data['after'] === true)).toBe(true),
    PATIENT,
  );
  await jobs.close();
  await redis.stop();
});

test('a Redis that forgets everything again and again stops neither jobs nor schedules', async () => {
  const redis = await startTestRedis({ isOwn: true });
  const client = new Redis(redis.url);
  const jobs = await openTestJobs({ redisUrl: redis.url, databaseUrl: NO_DATABASE });
  const runs: Job[] = [];
  const scheduled: Job[] = [];
  jobs.workers.process('forgotten', async (job) => void runs.push(job), LIMITS);
  jobs.workers.process('scheduled', async (job) => void scheduled.push(job), LIMITS);
  jobs.queue.every('scheduled', 1_000);
  await eventually(() => expect(scheduled.length).toBeGreaterThan(0), PATIENT);
  for (let round = 0; round < 3; round += 1) {
    await client.flushall();
    const before = runs.length;
    await eventually(async () => {
      await jobs.queue.add('forgotten', {}, { id: `round-${round}` });
      return runs.length > before;
    }, PATIENT);
  }
  const before = scheduled.length;
  await eventually(() => expect(scheduled.length).toBeGreaterThan(before), PATIENT);
  await client.quit();
  await jobs.close();
  await redis.stop();
});
