import { expect, test } from '@jest/globals';
import { Redis } from 'ioredis';

import { jobsContract, type OpenedJobs } from '#libs/jobs/contract';
import type { Job } from '#libs/jobs/core';
import { eventually, startTestRedis } from '#libs/testing';

import { openTestJobs } from './jobs-harness.js';

/** Never reached: Redis is there. */
const NO_DATABASE = 'postgres://127.0.0.1:1/none';
const LIMITS = { concurrency: 1, timeoutMs: 5_000 };

jobsContract('Redis', async () => {
  const redis = await startTestRedis();
  const opened: OpenedJobs[] = [];
  return {
    open: async () => {
      const jobs = await openTestJobs({ redisUrl: redis.url, databaseUrl: NO_DATABASE });
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
  const jobs = await openTestJobs({ redisUrl: redis.url, databaseUrl: NO_DATABASE });
  const runs: Job[] = [];
  jobs.workers.process('late-start', async (job) => void runs.push(job), LIMITS);
  expect(await jobs.queue.add('late-start', {}, { id: '1' })).toBe(false);
  expect(await jobs.metric('jobs_not_added_total', 'late-start')).toBe(1);
  await redis.process!.start();
  await eventually(() => jobs.queue.add('late-start', {}, { id: '2' }));
  await eventually(() => expect(runs).toHaveLength(1));
  await jobs.close();
  await redis.stop();
});

test('when Redis dies or freezes, adding ends within its bound and nothing piles up', async () => {
  const redis = await startTestRedis({ isOwn: true });
  const jobs = await openTestJobs({ redisUrl: redis.url, databaseUrl: NO_DATABASE });
  const runs: Job[] = [];
  jobs.workers.process('outage', async (job) => void runs.push(job), LIMITS);
  expect(await jobs.queue.add('outage', {}, { id: 'before' })).toBe(true);
  await eventually(() => expect(runs).toHaveLength(1));

  redis.process!.pause();
  const fromMs = performance.now();
  const additions = Array.from({ length: 1_000 }, (_, n) =>
    jobs.queue.add('outage', { n }, { id: `frozen-${n}` }),
  );
  expect(new Set(await Promise.all(additions))).toEqual(new Set([false]));
  expect(performance.now() - fromMs).toBeLessThan(3_000);
  expect(await jobs.metric('jobs_not_added_total', 'outage')).toBe(1_000);
  redis.process!.resume();

  await redis.process!.kill();
  expect(await jobs.queue.add('outage', {}, { id: 'dead' })).toBe(false);
  await redis.process!.start();
  await eventually(() => jobs.queue.add('outage', { after: true }, { id: 'after' }));
  await eventually(() => expect(runs.some(({ data }) => data['after'] === true)).toBe(true));
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
  await eventually(() => expect(scheduled.length).toBeGreaterThan(0), { deadlineMs: 15_000 });
  for (let round = 0; round < 3; round += 1) {
    await client.flushall();
    const before = runs.length;
    await eventually(async () => {
      await jobs.queue.add('forgotten', {}, { id: `round-${round}` });
      return runs.length > before;
    });
  }
  const before = scheduled.length;
  await eventually(() => expect(scheduled.length).toBeGreaterThan(before), { deadlineMs: 15_000 });
  await client.quit();
  await jobs.close();
  await redis.stop();
});
