import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';

import type { SpoolHealth } from '#libs/spool/core';

import { RecordWait } from './record-wait.js';

beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

/** After how many seconds the client stops waiting; null = not within a minute. */
function secondsUntilGivenUp(healthAt: (second: number) => SpoolHealth): number | null {
  let second = 0;
  let given: number | null = null;
  const wait = new RecordWait({ health: () => healthAt(second) }, () => (given ??= second));
  for (second = 1; second <= 60; second += 1) jest.advanceTimersByTime(1_000);
  wait.end();
  return given;
}

test('a failed commit is waited for 5 seconds, a slow one 30', () => {
  expect(secondsUntilGivenUp(() => 'retrying')).toBe(5);
  expect(secondsUntilGivenUp(() => 'disk_full')).toBe(5);
  expect(secondsUntilGivenUp(() => 'stalled')).toBe(30);
  expect(secondsUntilGivenUp((second) => (second < 12 ? 'stalled' : 'disk_full'))).toBe(12);
});

test('a record that came in time ends the wait', () => {
  let isGivenUp = false;
  const wait = new RecordWait({ health: () => 'retrying' }, () => (isGivenUp = true));
  jest.advanceTimersByTime(4_999);
  wait.end();
  jest.advanceTimersByTime(60_000);
  expect(isGivenUp).toBe(false);
});
