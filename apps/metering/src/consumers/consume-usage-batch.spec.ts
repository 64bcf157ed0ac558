/** Guarantee: batches grow with the age of what is read, and no record is skipped or handed on twice. */
import { expect, test } from '@jest/globals';
import { Registry } from 'prom-client';

import type { LogRecord } from '#libs/event-log/core';
import { FixedClock } from '#libs/testing';

import { asRead, completed, NOW_MS, SampleEmitter } from '../../test/sample-events.js';
import { AdaptiveLinger } from '../domain/adaptive-linger.js';
import { MeteringMetrics } from '../sink/metering-metrics.js';
import { PartitionHealth } from '../sink/partition-health.js';
import { consumeUsageBatch } from './consume-usage-batch.js';

/** Sizes of the batches that a delivery is cut into, and where reading goes on after it. */
async function cut(
  records: readonly LogRecord[],
  ageMs: number,
  fitting = Infinity,
): Promise<{ readonly sizes: readonly number[]; readonly next: bigint }> {
  const clock = new FixedClock(records[0]!.appendedAtMs + ageMs);
  const metrics = new MeteringMetrics(new Registry());
  const sizes: number[] = [];
  let next = 0n;
  const sink = {
    fitting: () => fitting,
    process: async (_owned: unknown, batch: readonly LogRecord[]): Promise<bigint> => {
      expect(batch[0]!.offset).toBe(next);
      sizes.push(batch.length);
      return batch.at(-1)!.offset + 1n;
    },
  };
  const health = new PartitionHealth(metrics, clock);
  await consumeUsageBatch(
    { sink: sink as never, health, metrics, clock, linger: new AdaptiveLinger(0) },
    {
      topic: 'request.completed',
      partition: 0,
      epoch: 1n,
      records,
      signal: new AbortController().signal,
      resolve: (offset) => {
        next = offset;
      },
    },
  );
  return { sizes, next };
}

const sample = new SampleEmitter().completed(completed(1));
const records = asRead(
  Array.from({ length: 12_000 }, () => ({ ...sample, value: Buffer.alloc(100) })),
  0n,
  NOW_MS,
);

test('a delivery is cut at 5,000 records while it is fresh, and is one batch when it is late', async () => {
  expect(await cut(records, 10_000)).toEqual({ sizes: [5_000, 5_000, 2_000], next: 12_000n });
  expect(await cut(records, 10_001)).toEqual({ sizes: [12_000], next: 12_000n });
});

test('no batch is longer than what its message to the budgets can hold, however late', async () => {
  expect(await cut(records, 60_000, 8_000)).toEqual({ sizes: [8_000, 4_000], next: 12_000n });
});
