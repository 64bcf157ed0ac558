/** Guarantee: passes follow each other one at a time, survive each other's failures, and end when told. */
import { expect, test } from '@jest/globals';

import { PeriodicWorker } from './periodic-worker.js';
import { delay } from './wait.js';

class Counted extends PeriodicWorker {
  passes = 0;
  atOnce = 0;
  mostAtOnce = 0;
  readonly failures: unknown[] = [];
  private readonly enough: Promise<void>;
  private tell = (): void => undefined;

  constructor(
    private readonly wanted: number,
    private readonly everyMs: number,
  ) {
    super();
    this.enough = new Promise((resolve) => (this.tell = resolve));
  }

  untilEnough(): Promise<void> {
    return this.enough;
  }

  protected async pass(): Promise<void> {
    this.atOnce += 1;
    this.mostAtOnce = Math.max(this.mostAtOnce, this.atOnce);
    await delay(1);
    this.atOnce -= 1;
    this.passes += 1;
    if (this.passes >= this.wanted) this.tell();
    if (this.passes % 2 === 1) throw new Error(`pass ${this.passes}`);
  }

  protected failed(error: unknown): void {
    this.failures.push(error);
  }

  protected pauseMs(): number {
    return this.everyMs;
  }
}

test('a pass that fails is told, and followed by the next; two starts are one', async () => {
  const worker = new Counted(5, 1);
  worker.start();
  worker.start();
  await worker.untilEnough();
  await worker.stop();
  expect(worker.mostAtOnce).toBe(1);
  expect(worker.failures).toHaveLength(Math.ceil(worker.passes / 2));
});

test('a worker that is told to end lets its pass end, breaks off its pause, and begins no other', async () => {
  const worker = new Counted(1, 3_600_000);
  worker.start();
  await worker.stop();
  expect(worker.passes).toBe(1);
  expect(worker.atOnce).toBe(0);
  worker.start();
  await worker.stop();
  expect(worker.passes).toBe(1);
});

test('a worker that never began ends at once', async () => {
  const worker = new Counted(1, 1);
  await worker.stop();
  worker.start();
  await worker.stop();
  expect(worker.passes).toBe(0);
});
