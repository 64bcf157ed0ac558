import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import type { Job, JobHandler, Jobs } from '#libs/jobs/core';
import { AppError, delay } from '#libs/kernel';
import { eventually } from '#libs/testing';

/** The jobs of one engine under test. */
export interface JobsHarness {
  /** Opens the jobs as a process of their own would. */
  open(): Promise<OpenedJobs>;
  /** Ends the engine and everything opened. */
  stop(): Promise<void>;
}

/** Jobs with what they count. */
export interface OpenedJobs extends Jobs {
  /** A figure by metric and job name, 0 when it was never set. */
  metric(name: string, job: string): Promise<number>;
}

const LIMITS = { concurrency: 4, timeoutMs: 5_000 };

/** The promises of the jobs' port, on a real engine. */
export function jobsContract(engine: string, start: () => Promise<JobsHarness>): void {
  describe(`jobs on ${engine}`, () => {
    let harness: JobsHarness;
    let jobs: OpenedJobs;
    let names = 0;

    /** A name nobody used before; runs are collected. */
    const register = (handler: JobHandler = async () => undefined): [string, Job[]] => {
      names += 1;
      const name = `test-${names}`;
      const runs: Job[] = [];
      jobs.workers.process(
        name,
        (job) => {
          runs.push(job);
          return handler(job);
        },
        LIMITS,
      );
      return [name, runs];
    };

    beforeAll(async () => {
      harness = await start();
      jobs = await harness.open();
    });
    afterAll(async () => {
      await harness?.stop();
    });

    test('a job comes to its handler with its data, whichever process added it', async () => {
      const other = await harness.open();
      const [name, runs] = register();
      expect(await other.queue.add(name, { letter: 7, deep: { a: ['b'] } }, { id: 'x:1' })).toBe(
        true,
      );
      await eventually(() => expect(runs).toHaveLength(1));
      expect(runs[0]).toMatchObject({ name, data: { letter: 7, deep: { a: ['b'] } }, attempt: 1 });
    });

    test('while a job waits, adding its id again changes nothing', async () => {
      const [name, runs] = register();
      for (const n of [1, 2, 3]) {
        expect(await jobs.queue.add(name, { n }, { id: 'same', delayMs: 500 })).toBe(true);
      }
      expect(await jobs.queue.add(name, {}, { id: 'other' })).toBe(true);
      await eventually(() => expect(runs.map(({ data }) => data)).toEqual([{}, { n: 1 }]));
      await eventually(async () => expect(await jobs.metric('jobs_run_total', name)).toBe(2));
      expect(runs).toHaveLength(2);
    });

    test('a job added while it runs is run once more afterwards, however often it was added', async () => {
      let release = (): void => undefined;
      const held = new Promise<void>((resolve) => (release = resolve));
      const [name, runs] = register(() => held);
      await jobs.queue.add(name, { n: 0 }, { id: 'level' });
      await eventually(() => expect(runs).toHaveLength(1));
      for (const n of [1, 2, 3]) await jobs.queue.add(name, { n }, { id: 'level' });
      release();
      await eventually(() => expect(runs).toHaveLength(2));
      await eventually(async () => expect(await jobs.metric('jobs_run_total', name)).toBe(2));
      expect(runs).toHaveLength(2);
    });

    test('a job that is done may be added again under its id', async () => {
      const [name, runs] = register();
      for (const n of [1, 2]) {
        await jobs.queue.add(name, { n }, { id: 'again' });
        await eventually(async () => expect(await jobs.metric('jobs_run_total', name)).toBe(n));
      }
      expect(runs).toHaveLength(2);
    });

    test('a run that fails is tried again', async () => {
      const [name, runs] = register(async ({ attempt }) => {
        if (attempt === 1) throw new Error('not this time');
      });
      await jobs.queue.add(name, {}, { id: 'retried' });
      await eventually(() => expect(runs.map(({ attempt }) => attempt)).toEqual([1, 2]));
    });

    test('a run beyond its time is told to end and tried again', async () => {
      names += 1;
      const name = `test-${names}`;
      const ends: boolean[] = [];
      const handler: JobHandler = async ({ attempt, signal }) => {
        if (attempt === 1) await delay(60_000, signal);
        ends.push(signal.aborted);
      };
      jobs.workers.process(name, handler, { concurrency: 1, timeoutMs: 200 });
      await jobs.queue.add(name, {}, { id: 'slow' });
      await eventually(() => expect(ends).toEqual([true, false]));
    });

    test('a job that can never be done is set aside at once, counted, and may be added again', async () => {
      const [name, runs] = register(async () => {
        throw new AppError({ code: 'test.never', kind: 'invalid', publicMessage: 'never' });
      });
      for (const failed of [1, 2]) {
        await jobs.queue.add(name, {}, { id: 'never' });
        await eventually(async () => expect(await jobs.metric('jobs_failed', name)).toBe(failed));
      }
      expect(runs).toHaveLength(2);
    });

    test('jobs without a handler wait, are counted, and have an age', async () => {
      names += 1;
      const name = `test-${names}`;
      for (const id of ['a', 'b', 'c']) await jobs.queue.add(name, {}, { id });
      await jobs.queue.add(name, {}, { id: 'd', delayMs: 60_000 });
      await eventually(async () => expect(await jobs.metric('jobs_waiting', name)).toBe(4));
      await eventually(async () =>
        expect(await jobs.metric('jobs_oldest_seconds', name)).toBeGreaterThan(0),
      );
    });

    test('a schedule runs once per interval, however many processes ask for it', async () => {
      const other = await harness.open();
      const [name, runs] = register();
      jobs.queue.every(name, 2_000);
      other.queue.every(name, 2_000);
      await eventually(() => expect(runs.length).toBeGreaterThanOrEqual(2), { deadlineMs: 20_000 });
      expect(runs[0]!.data).toEqual({});
      const atMs = performance.now();
      const before = runs.length;
      await eventually(() => expect(runs.length).toBeGreaterThanOrEqual(before + 2), {
        deadlineMs: 20_000,
      });
      expect(performance.now() - atMs).toBeGreaterThan(1_500);
    });

    test('closing waits for the run in hand and takes no other', async () => {
      const closing = await harness.open();
      names += 1;
      const name = `test-${names}`;
      const steps: string[] = [];
      const handler: JobHandler = async ({ data }) => {
        steps.push(`begin ${String(data['n'])}`);
        await delay(300);
        steps.push(`end ${String(data['n'])}`);
      };
      closing.workers.process(name, handler, { concurrency: 1, timeoutMs: 5_000 });
      for (const n of [1, 2]) await closing.queue.add(name, { n }, { id: String(n) });
      await eventually(() => expect(steps).toEqual(['begin 1']));
      await closing.close();
      expect(steps).toEqual(['begin 1', 'end 1']);
      jobs.workers.process(name, handler, { concurrency: 1, timeoutMs: 5_000 });
      await eventually(() => expect(steps.at(-1)).toBe('end 2'));
    });

    test('a name has one handler in a process', () => {
      const [name] = register();
      expect(() => jobs.workers.process(name, async () => undefined, LIMITS)).toThrow(name);
    });
  });
}
