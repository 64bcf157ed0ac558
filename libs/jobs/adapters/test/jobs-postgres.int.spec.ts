import { runMigrations } from 'bullmq';
import { expect, test } from '@jest/globals';
import { Client } from 'pg';

import { jobsContract, type OpenedJobs } from '#libs/jobs/contract';
import { eventually, startTestPostgres, TcpFaultProxy } from '#libs/testing';
import { POSTGRES_MIGRATIONS } from '#migrations';

import { PostgresJobEngine } from '../src/bullmq/postgres-engine.js';
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

test('a database that is slow at the start of a worker costs time and nothing else', async () => {
  const postgres = await startTestPostgres({ migrations: POSTGRES_MIGRATIONS });
  const url = new URL(postgres.url);
  const faults = await TcpFaultProxy.open({ targetPort: Number(url.port) });
  url.port = String(faults.port);
  const engine = new PostgresJobEngine(url.toString());
  faults.set({ kind: 'hang' });
  const failures: string[] = [];
  const done: unknown[] = [];
  const worker = engine.worker('slow-start', async ({ data }) => void done.push(data), {
    concurrency: 1,
    lockMs: 30_000,
  });
  worker.on('error', (error) => failures.push(error.message));
  // Only a process that still takes its turns gets here.
  await eventually(() => failures.length > 1);
  faults.set({ kind: 'none' });
  const queue = engine.queue('slow-start');
  await eventually(() => queue.add('slow-start', { nth: 1 }));
  await eventually(() => done.length > 0);
  expect(done).toEqual([{ nth: 1 }]);
  await Promise.all([worker.close(), queue.close()]);
  await faults.close();
  await postgres.stop();
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
