import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import type { Job, JobData, JobHandler, JobOptions, Jobs } from '#libs/jobs/core';
import { AppError, delay, SystemRandom } from '#libs/kernel';
import { eventually } from '#libs/testing';

/** The jobs of one engine under test. */
export interface JobsHarness {
  /** Opens the jobs as a process of their own would. */
  open(): Promise<OpenedJobs>;
  /** Ends the engine and everything opened. */
  stop(): Promise<void>;
}

/** Jobs with what they count; an addition is waited for as long as a stalled machine takes. */
export interface OpenedJobs extends Jobs {
  /** A figure by metric and job name, 0 when it was never set. */
  metric(name: string, job: string): Promise<number>;
}

const LIMITS = { concurrency: 4, timeoutMs: 60_000 };
/** The figures are looked at every 5 s; the rest guards against waiting for ever. */
const PATIENT = { deadlineMs: 60_000 };
/** Sets the jobs of this run apart in an engine that others use as well. */
const RUN = Buffer.from(new SystemRandom().bytes(6)).toString('hex');

/** The promises of the jobs' port, on a real engine. */
export function jobsContract(engine: string, start: () => Promise<JobsHarness>): void {
  describe(`jobs on ${engine}`, () => {
    let harness: JobsHarness;
    let jobs: OpenedJobs;
    let names = 0;

    /** A name nobody used before. */
    const freshName = (): string => {
      names += 1;
      return `test-${RUN}-${names}`;
    };

    /** Runs of a name's jobs, collected from now on. */
    const collect = (name: string, handler: JobHandler = async () => undefined): Job[] => {
      const runs: Job[] = [];
      jobs.workers.process(
        name,
        (job) => {
          runs.push(job);
          return handler(job);
        },
        LIMITS,
      );
      return runs;
    };

    const register = (handler?: JobHandler): [string, Job[]] => {
      const name = freshName();
      return [name, collect(name, handler)];
    };

    /** Adds a job; refused only while the engine did not answer the last look. */
    const add = async (
      name: string,
      data: JobData,
      options: JobOptions,
      { queue }: OpenedJobs = jobs,
    ): Promise<void> => {
      await eventually(() => queue.add(name, data, options), PATIENT);
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
      await add(name, { letter: 7, deep: { a: ['b'] } }, { id: 'x:1' }, other);
      await eventually(() => expect(runs).toHaveLength(1), PATIENT);
      expect(runs[0]).toMatchObject({ name, data: { letter: 7, deep: { a: ['b'] } }, attempt: 1 });
    });

    test('while a job waits, adding its id again changes nothing; none begins before its time', async () => {
      const name = freshName();
      const fromMs = performance.now();
      for (const n of [1, 2, 3]) await add(name, { n }, { id: 'same', delayMs: 500 });
      await add(name, {}, { id: 'other' });
      let delayedMs = 0;
      // Only now, so that all of them were added while they waited, however long that took.
      const runs = collect(name, async ({ data }) => {
        if (data['n'] === 1) delayedMs = performance.now() - fromMs;
      });
      await eventually(
        async () => expect(await jobs.metric('jobs_run_total', name)).toBe(2),
        PATIENT,
      );
      expect(runs.map(({ data }) => data)).toEqual(expect.arrayContaining([{}, { n: 1 }]));
      expect(runs).toHaveLength(2);
      expect(delayedMs).toBeGreaterThan(490);
    });

    test('a job added while it runs is run once more afterwards, however often it was added', async () => {
      let release = (): void => undefined;
      const held = new Promise<void>((resolve) => (release = resolve));
      const [name, runs] = register(() => held);
      await add(name, { n: 0 }, { id: 'level' });
      await eventually(() => expect(runs).toHaveLength(1), PATIENT);
      for (const n of [1, 2, 3]) await add(name, { n }, { id: 'level' });
      release();
      await eventually(
        async () => expect(await jobs.metric('jobs_run_total', name)).toBe(2),
        PATIENT,
      );
      expect(runs).toHaveLength(2);
    });

    test('a job that is done may be added again under its id', async () => {
      const [name, runs] = register();
      for (const n of [1, 2]) {
        await add(name, { n }, { id: 'again' });
        await eventually(
          async () => expect(await jobs.metric('jobs_run_total', name)).toBe(n),
          PATIENT,
        );
      }
      expect(runs).toHaveLength(2);
    });

    test('a run that fails is tried again', async () => {
      const [name, runs] = register(async ({ attempt }) => {
        if (attempt === 1) throw new Error('not this time');
      });
      await add(name, {}, { id: 'retried' });
      await eventually(() => expect(runs.map(({ attempt }) => attempt)).toEqual([1, 2]), PATIENT);
    });

    test('a run beyond its time is told to end and tried again', async () => {
      const name = freshName();
      const ends: boolean[] = [];
      const handler: JobHandler = async ({ attempt, signal }) => {
        if (attempt === 1) await delay(60_000, signal);
        ends.push(signal.aborted);
      };
      jobs.workers.process(name, handler, { concurrency: 1, timeoutMs: 200 });
      await add(name, {}, { id: 'slow' });
      await eventually(() => expect(ends).toEqual([true, false]), PATIENT);
    });

    test('a job that can never be done is set aside at once, counted, and may be added again', async () => {
      const [name, runs] = register(async () => {
        throw new AppError({ code: 'test.never', kind: 'invalid', publicMessage: 'never' });
      });
      for (const failed of [1, 2]) {
        await add(name, {}, { id: 'never' });
        await eventually(
          async () => expect(await jobs.metric('jobs_failed', name)).toBe(failed),
          PATIENT,
        );
      }
      expect(runs).toHaveLength(2);
    });

    test('jobs without a handler wait, are counted, and have an age', async () => {
      const name = freshName();
      for (const id of ['a', 'b', 'c']) await add(name, {}, { id });
      await add(name, {}, { id: 'd', delayMs: 600_000 });
      await eventually(
        async () => expect(await jobs.metric('jobs_waiting', name)).toBe(4),
        PATIENT,
      );
      await eventually(
        async () => expect(await jobs.metric('jobs_oldest_seconds', name)).toBeGreaterThan(0),
        PATIENT,
      );
    });

    test('a schedule runs once per interval, however many processes ask for it', async () => {
      const other = await harness.open();
      const [name, runs] = register();
      const everyMs = 1_000;
      jobs.queue.every(name, everyMs);
      other.queue.every(name, everyMs);
      await eventually(() => expect(runs.length).toBeGreaterThanOrEqual(2), PATIENT);
      expect(runs[0]!.data).toEqual({});
      const fromMs = performance.now();
      const before = runs.length;
      await eventually(() => expect(runs.length).toBeGreaterThanOrEqual(before + 6), PATIENT);
      // One run that was due before, and one per interval that began since; a late one is made once.
      const intervals = Math.floor((performance.now() - fromMs) / everyMs) + 1;
      expect(runs.length - before).toBeLessThanOrEqual(1 + intervals);
    });

    test('closing waits for the run in hand and takes no other', async () => {
      const closing = await harness.open();
      const name = freshName();
      const steps: string[] = [];
      let closed: Promise<void> | undefined;
      const handler: JobHandler = async ({ data }) => {
        steps.push(`begin ${String(data['n'])}`);
        // From within the run, which is in hand therefore.
        closed ??= closing.close();
        await delay(300);
        steps.push(`end ${String(data['n'])}`);
      };
      for (const n of [1, 2]) await add(name, { n }, { id: String(n) }, closing);
      closing.workers.process(name, handler, { concurrency: 1, timeoutMs: 60_000 });
      await eventually(() => expect(steps).not.toEqual([]), PATIENT);
      await closed;
      expect(steps).toEqual(['begin 1', 'end 1']);
      jobs.workers.process(name, handler, { concurrency: 1, timeoutMs: 60_000 });
      await eventually(() => expect(steps.at(-1)).toBe('end 2'), PATIENT);
    });

    test('a name has one handler in a process', () => {
      const [name] = register();
      expect(() => jobs.workers.process(name, async () => undefined, LIMITS)).toThrow(name);
    });
  });
}
