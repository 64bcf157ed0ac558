/**
 * Guarantee: a rebuild that was asked for is begun by a job, in whichever process gets it; when the
 * job is lost, comes twice or late, the rebuild is carried out once all the same.
 * Method: jobs on a real PostgreSQL, and workers whose own looks are on or off.
 */
import { randomUUID } from 'node:crypto';

import { afterEach, beforeEach, expect, test } from '@jest/globals';

import { openJobs } from '#libs/jobs/adapters';
import type { Jobs } from '#libs/jobs/core';
import type { Database } from '#libs/platform/postgres';
import { createRuntime } from '#libs/platform/telemetry';
import { eventually, type TestPostgres } from '#libs/testing';

import { RebuildJobs } from '../src/rebuild/rebuild-jobs.js';
import type { RebuildStep, RebuildWay } from '../src/rebuild/rebuild-plan.js';
import { RebuildStore, type Rebuild } from '../src/rebuild/rebuild-store.js';
import { RebuildWorker } from '../src/rebuild/rebuild.worker.js';
import { StartRebuild } from '../src/rebuild/start-rebuild.use-case.js';
import { startMeteringPostgres } from './metering-fixture.js';

const STEPS = 3;

let postgres: TestPostgres;
let database: Database;
let opened: Jobs[];
let workers: RebuildWorker[];
/** Who did which step, in order. */
let steps: string[];

beforeEach(async () => {
  postgres = await startMeteringPostgres();
  database = postgres.database('metering');
  opened = [];
  workers = [];
  steps = [];
});
afterEach(async () => {
  for (const worker of workers) await worker.stop();
  for (const jobs of opened) await jobs.close();
  await postgres.stop();
});

interface Process {
  readonly start: StartRebuild;
  readonly jobs: RebuildJobs;
  readonly worker: RebuildWorker;
}

/** A process, with or without jobs, that looks by itself only once its worker is started. */
async function given(name: string, hasJobs = true): Promise<Process> {
  const runtime = createRuntime({ service: 'metering', partitions: 3, logLevel: 'silent' });
  const { random, logger } = runtime;
  const jobs = await openJobs({ redisUrl: null, databaseUrl: postgres.url, runtime });
  opened.push(jobs);
  const way: RebuildWay = {
    plan: async () => ({ fromMs: 0, toMs: 1, total: STEPS }),
    step: async ({ nextStep }: Rebuild): Promise<RebuildStep> => {
      const step = Number(nextStep ?? 0) + 1;
      steps.push(`${name} ${step}`);
      const next = step === STEPS ? null : String(step);
      return { next, done: 1, compared: 1, differences: [] };
    },
  };
  const store = new RebuildStore(database, random);
  const ways = { rollups: way, ledger: way };
  const worker = new RebuildWorker({ store, ways, random, logger });
  workers.push(worker);
  const rebuildJobs = new RebuildJobs(hasJobs ? jobs : undefined, worker);
  return { start: new StartRebuild(store, ways, worker, rebuildJobs), jobs: rebuildJobs, worker };
}

const ASKED = { kind: 'rollups', isApplied: true, fromMs: null, toMs: null } as const;

async function isOver({ start }: Process, { rebuildId }: Rebuild): Promise<boolean> {
  return (await start.store.find(rebuildId))?.state === 'done';
}

test('a rebuild is carried out by the process that gets its job, without any look', async () => {
  const asking = await given('asking');
  const working = await given('working');
  working.jobs.start();
  const started = await asking.start.execute(ASKED);
  await eventually(() => isOver(asking, started));
  expect(steps).toEqual(['working 1', 'working 2', 'working 3']);
});

test('a rebuild whose job is lost is found by a look', async () => {
  const process = await given('looking', false);
  process.worker.start();
  const started = await process.start.execute(ASKED);
  await eventually(() => isOver(process, started));
  expect(steps).toEqual(['looking 1', 'looking 2', 'looking 3']);
});

test('a job beside a look, again, or for a rebuild that is over changes nothing', async () => {
  const process = await given('both');
  process.jobs.start();
  process.worker.start();
  const started = await process.start.execute(ASKED);
  process.jobs.request(started.rebuildId);
  process.jobs.request(randomUUID());
  await eventually(() => isOver(process, started));
  process.jobs.request(started.rebuildId);
  const next = await process.start.execute(ASKED);
  await eventually(() => isOver(process, next));
  expect(steps).toEqual(['both 1', 'both 2', 'both 3', 'both 1', 'both 2', 'both 3']);
});

test('a job leaves a rebuild to the process that holds it, and takes it once it is free', async () => {
  const process = await given('late');
  process.jobs.start();
  await database.query(
    `INSERT INTO rebuild (rebuild_id, kind, from_at, to_at, is_applied, state, next_step, report,
       claimed_until)
     VALUES (gen_random_uuid(), 'rollups', '2000-01-01', '2100-01-01', true, 'running', '2',
       '{"total":3,"done":2,"compared":2,"differing":0,"repaired":0,"differences":[]}',
       clock_timestamp() + interval '1 hour')`,
  );
  await process.worker.carryOutNext(new AbortController().signal);
  expect(steps).toEqual([]);
  await database.query('UPDATE rebuild SET claimed_until = clock_timestamp()');
  process.jobs.request(randomUUID());
  await eventually(() => steps.length > 0);
  expect(steps).toEqual(['late 3']);
});
