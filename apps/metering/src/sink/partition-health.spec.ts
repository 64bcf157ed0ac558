import { expect, test } from '@jest/globals';
import { Registry } from 'prom-client';

import { AppError } from '#libs/kernel';
import { FixedClock } from '#libs/testing';

import { MeteringMetrics } from './metering-metrics.js';
import { PartitionHealth, type PartitionStage } from './partition-health.js';

function given() {
  const registry = new Registry();
  const clock = new FixedClock();
  const health = new PartitionHealth(new MeteringMetrics(registry), clock);
  const fail = (stage: PartitionStage, error: Error): Promise<void> =>
    health
      .watch(stage, 't', 0, () => Promise.reject(error))
      .then(
        () => expect(stage).toBe('failed'),
        () => undefined,
      );
  const succeed = (stage: PartitionStage, hasMoved: boolean): Promise<void> =>
    health.watch(
      stage,
      't',
      0,
      async () => undefined,
      () => hasMoved,
    );
  const isStopped = async (): Promise<boolean> =>
    (await registry.metrics()).includes('metering_partition_stopped{topic="t",partition="0"} 1');
  return { health, clock, fail, succeed, isStopped };
}

const away = new Error('the engine is away');
const unknownPrice = new AppError({
  code: 'metering.price_unknown',
  kind: 'unavailable',
  publicMessage: 'a price is not known yet',
  retryable: true,
});

test('a partition whose batch fails stays stopped while it is taken again and again', async () => {
  const { health, clock, fail, succeed, isStopped } = given();
  await fail('batch', unknownPrice);
  clock.advance(3_000);
  await succeed('take', false);
  expect(await isStopped()).toBe(true);
  await fail('batch', unknownPrice);
  clock.advance(3_000);
  await succeed('take', false);
  await expect(health.check()).rejects.toThrow('t/0 waits: metering.price_unknown');
  await succeed('batch', true);
  expect(await isStopped()).toBe(false);
  await expect(health.check()).resolves.toBeUndefined();
});

test('a partition goes on once taking it finishes its batch, or once it can be taken at all', async () => {
  const { fail, succeed, isStopped } = given();
  await fail('batch', away);
  await succeed('take', true);
  expect(await isStopped()).toBe(false);
  await fail('take', away);
  expect(await isStopped()).toBe(true);
  await succeed('take', false);
  expect(await isStopped()).toBe(false);
});

test('a partition that went elsewhere while it failed is forgotten, one that is being tried is not', async () => {
  const { health, clock, fail, isStopped } = given();
  await fail('take', away);
  const { promise, resolve } = Promise.withResolvers<void>();
  const trying = health.watch('take', 't', 0, () => promise);
  clock.advance(61_000);
  await expect(health.check()).rejects.toThrow('t/0 waits');
  resolve();
  await trying;
  await fail('take', away);
  clock.advance(61_000);
  await expect(health.check()).resolves.toBeUndefined();
  expect(await isStopped()).toBe(false);
});

test('a partition that waits for people does not make the process unready', async () => {
  const { health, clock, fail, isStopped } = given();
  await fail(
    'take',
    new AppError({
      code: 'metering.log_rewritten',
      kind: 'internal',
      publicMessage: 'internal error',
    }),
  );
  clock.advance(30_000);
  await expect(health.check()).resolves.toBeUndefined();
  expect(await isStopped()).toBe(true);
});
