import { runMigrations } from 'bullmq';
import { expect, test } from '@jest/globals';
import { Client } from 'pg';

import { jobsContract, type OpenedJobs } from '#libs/jobs/contract';
import { startTestPostgres } from '#libs/testing';
import { POSTGRES_MIGRATIONS } from '#migrations';

import { openTestJobs } from './jobs-harness.js';

jobsContract('PostgreSQL', async () => {
  const postgres = await startTestPostgres({ migrations: POSTGRES_MIGRATIONS });
  const opened: OpenedJobs[] = [];
  return {
    open: async () => {
      const jobs = await openTestJobs({
        redisUrl: null,
        databaseUrl: postgres.url,
        addMs: 60_000,
      });
      opened.push(jobs);
      return jobs;
    },
    stop: async () => {
      await Promise.all(opened.map((jobs) => jobs.close()));
      await postgres.stop();
    },
  };
});

test('our migrations bring everything that the installed release of BullMQ needs', async () => {
  const postgres = await startTestPostgres({ migrations: POSTGRES_MIGRATIONS });
  const client = new Client({ connectionString: postgres.url });
  await client.connect();
  const versions = async (): Promise<unknown[]> =>
    (await client.query('SELECT version FROM jobs.migration ORDER BY version')).rows;
  const before = await versions();
  expect(before.length).toBeGreaterThan(0);
  await runMigrations(client, 'jobs');
  expect(await versions()).toEqual(before);
  await client.end();
  await postgres.stop();
});

test('the role of the jobs reaches its own schema and no other', async () => {
  const postgres = await startTestPostgres({ migrations: POSTGRES_MIGRATIONS });
  const database = postgres.database('jobs');
  await database.query('SELECT count(*) FROM job');
  for (const table of ['budget.hold', 'auth.virtual_key', 'event_log.log_record']) {
    await expect(database.query(`SELECT 1 FROM ${table}`)).rejects.toThrow('permission denied');
  }
  await expect(database.query(`SELECT event_log.bounds('control', 0)`)).rejects.toThrow(
    'permission denied',
  );
  await postgres.stop();
});
