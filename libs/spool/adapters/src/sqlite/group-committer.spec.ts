/* The writer is a stub that answers when the test says so; the engine's part is tested on real files. */
import { afterEach, describe, expect, jest, test } from '@jest/globals';

import { GroupCommitter } from './group-committer.js';
import { GroupQueue, type WaitingAppend, type WaitingOpen } from './group-queue.js';

afterEach(() => {
  jest.useRealTimers();
});

const ID = '01900000-0000-7000-8000-000000000000';
const record = { lane: 0, body: new Uint8Array(), bytes: 0 };

interface Stage {
  readonly committer: GroupCommitter;
  readonly queue: GroupQueue;
  readonly log: string[];
  groups: number;
}

function stage(isDiskFull = false): Stage {
  const queue = new GroupQueue(1);
  const log: string[] = [];
  const committer = new GroupCommitter({
    queue,
    writer: { commit: () => void (made.groups += 1) },
    clock: { nowMs: () => 0, monotonicMs: () => performance.now() },
    groupMs: 0,
    isDiskFull,
    logger: undefined,
    metrics: undefined,
    stored: (group) => log.push(`stored ${group.opens.length} ${group.appends.length}`),
    refused: (entry) => log.push(`forgot ${entry.key}`),
    died: () => log.push('died'),
  });
  const made: Stage = { committer, queue, log, groups: 0 };
  return made;
}

function promised(
  log: string[],
  name: string,
): { resolve: () => void; reject: (error: unknown) => void } {
  const reject = (error: unknown): number =>
    log.push(`${name} ${(error as { code: string }).code}`);
  return { resolve: () => log.push(`${name} ok`), reject };
}

function intent({ log }: Stage, key: string): WaitingOpen {
  const opened = { number: 0, isDurable: false };
  return {
    ...record,
    bytes: 36,
    requestId: ID,
    attempt: 1,
    holdPicoUsd: 0n,
    key,
    opened,
    ...promised(log, key),
  };
}

function event({ log }: Stage, name: string): WaitingAppend {
  const appended = { lane: 0, eventId: ID, headers: {}, body: record.body, closes: null };
  return {
    ...record,
    bytes: 54,
    eventId: ID,
    closes: 0,
    headersJson: '{}',
    event: appended,
    ...promised(log, name),
  };
}

describe('a group that is not stored', () => {
  test('refuses its intents and tries its events again every second, in order and alone', () => {
    jest.useFakeTimers();
    const it = stage();
    it.queue.addOpen(intent(it, 'i'));
    it.queue.addAppend(event(it, 'a'));
    it.committer.schedule();
    jest.advanceTimersByTime(1);
    expect(it.groups).toBe(1);
    it.committer.failed(false, 'no reason');
    expect(it.log).toEqual(['forgot i', 'i spool.unavailable']);
    expect(it.committer.isRetrying).toBe(true);
    it.queue.addAppend(event(it, 'b'));
    it.committer.schedule();
    jest.advanceTimersByTime(999);
    expect(it.groups).toBe(1);
    jest.advanceTimersByTime(2);
    expect(it.groups).toBe(2);
    it.committer.committed(2);
    expect(it.log.slice(2)).toEqual(['stored 0 2', 'a ok', 'b ok']);
    expect(it.committer.isRetrying).toBe(false);
  });

  test('is tried again at once when a full volume has just been given the reserve', () => {
    jest.useFakeTimers();
    const it = stage();
    it.queue.addAppend(event(it, 'a'));
    it.committer.schedule();
    jest.advanceTimersByTime(1);
    it.committer.failed(true, 'full');
    jest.advanceTimersByTime(1);
    expect([it.groups, it.committer.isDiskFull, it.committer.isRetrying]).toEqual([2, true, false]);
    it.committer.failed(true, 'full');
    expect(it.committer.isRetrying).toBe(true);
  });
});

test('records that come during a commit form the next group', () => {
  jest.useFakeTimers();
  const it = stage();
  for (const name of ['a', 'b', 'c']) {
    it.queue.addAppend(event(it, name));
    it.committer.schedule();
    if (name === 'a') jest.advanceTimersByTime(1);
  }
  jest.advanceTimersByTime(5);
  expect(it.groups).toBe(1);
  expect(it.committer.commitAgeMs()).toBeGreaterThanOrEqual(5);
  it.committer.committed(1);
  jest.advanceTimersByTime(1);
  expect(it.groups).toBe(2);
  it.committer.committed(3);
  expect(it.log).toEqual(['stored 0 1', 'a ok', 'stored 0 2', 'b ok', 'c ok']);
});

test('a dead writer fails what is in flight and what waits', async () => {
  const it = stage();
  it.queue.addAppend(event(it, 'a'));
  it.committer.schedule();
  await new Promise((resolve) => setImmediate(resolve));
  it.queue.addOpen(intent(it, 'i'));
  it.queue.addAppend(event(it, 'b'));
  const drained = it.committer.drain();
  it.committer.died('gone');
  await drained;
  const code = 'spool.unavailable';
  expect(it.log).toEqual(['forgot i', `i ${code}`, `a ${code}`, `b ${code}`, 'died']);
});
