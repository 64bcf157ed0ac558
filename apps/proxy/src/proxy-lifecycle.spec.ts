import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';

import { SystemClock } from '#libs/kernel';

import { InFlight } from './attempt/drains.js';
import { ProxyLifecycle, type ProxyLifecycleParts } from './proxy-lifecycle.js';

beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

/** A proxy that has everything for its recovery, which takes as long as the caller says. */
function startedWith(recovery: () => Promise<void>): ProxyLifecycle {
  const nothing = { start: () => undefined, stop: async () => undefined };
  const parts = {
    catalogue: { ...nothing, current: () => ({ prices: {} }) },
    relay: nothing,
    releaser: nothing,
    recovery: {
      execute: async () => {
        await recovery();
        return {};
      },
    },
    inFlight: new InFlight(),
    transport: { close: async () => undefined },
    clock: new SystemClock(),
    random: { bytes: (count: number) => Buffer.alloc(count) },
    logger: { warn: () => undefined },
    drainMs: 60_000,
  };
  const lifecycle = new ProxyLifecycle(parts as unknown as ProxyLifecycleParts);
  lifecycle.onApplicationBootstrap();
  return lifecycle;
}

test('a recovery whose records the disk does not take holds up the end for 10 seconds', async () => {
  const lifecycle = startedWith(() => new Promise(() => undefined));
  let hasEnded = false;
  const ended = lifecycle.beforeApplicationShutdown().then(() => (hasEnded = true));
  await jest.advanceTimersByTimeAsync(9_999);
  expect(hasEnded).toBe(false);
  await jest.advanceTimersByTimeAsync(1);
  expect(hasEnded).toBe(true);
  await ended;
  await lifecycle.onApplicationShutdown();
  expect(lifecycle.isOpen()).toBe(false);
  expect(jest.getTimerCount()).toBe(0);
});

test('a recovery that ends meanwhile lets the end go on at once, and nothing is admitted', async () => {
  let finish = (): void => undefined;
  const lifecycle = startedWith(() => new Promise((resolve) => (finish = resolve)));
  const ended = lifecycle.beforeApplicationShutdown();
  finish();
  await ended;
  await lifecycle.onApplicationShutdown();
  expect(lifecycle.isOpen()).toBe(false);
  expect(jest.getTimerCount()).toBe(0);
});
