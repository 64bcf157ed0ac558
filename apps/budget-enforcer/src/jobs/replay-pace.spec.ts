/**
 * Guarantee: what cannot be filled is asked for ever more rarely, what can be filled one answer after
 * the other, and nothing is asked for while an answer is still being read.
 */
import { expect, test } from '@jest/globals';

import type { RatedHole } from '#libs/budgets/adapters';

import { ReplayPace } from './replay-pace.js';

const PATIENCE_MS = 30_000;
const HOUR_MS = 3_600_000;

function hole(fromOffset: bigint, partition = 0): RatedHole {
  return { topic: 'request.completed', partition, fromOffset, waitingMs: PATIENCE_MS };
}

/** The pauses between requests for one hole that is looked for every second, in seconds. */
function pausesOf(pace: ReplayPace, throughMs: number, isAnswered: boolean): readonly number[] {
  const asked: number[] = [];
  for (let nowMs = 0; nowMs <= throughMs; nowMs += 1_000) {
    for (const due of pace.due([hole(10n)], nowMs)) {
      asked.push(nowMs / 1_000);
      if (isAnswered) pace.answered(due, 20n);
    }
  }
  return asked.slice(1).map((at, nth) => at - asked[nth]!);
}

test('a hole that every answer leaves is asked for after pauses that double up to an hour', () => {
  const pauses = pausesOf(new ReplayPace(PATIENCE_MS), 5 * HOUR_MS, true);
  expect(pauses).toEqual([30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600, 3_600]);
});

test('requests that fail bring nothing and are made again after the patience', () => {
  const pauses = pausesOf(new ReplayPace(PATIENCE_MS), 300_000, false);
  expect(new Set(pauses)).toEqual(new Set([30]));
});

test('a hole is asked for again after the patience, however often a former one was', () => {
  const pace = new ReplayPace(PATIENCE_MS);
  pausesOf(pace, HOUR_MS, true);
  expect(pace.due([hole(20n)], 2 * HOUR_MS)).toEqual([hole(20n)]);
  pace.answered(hole(20n), 30n);
  expect(pace.due([hole(20n)], 2 * HOUR_MS + PATIENCE_MS - 1)).toEqual([]);
  expect(pace.due([hole(20n)], 2 * HOUR_MS + PATIENCE_MS)).toEqual([hole(20n)]);
});

test('a hole that an answer has filled as far as it reached is asked for at once, and not before', () => {
  const pace = new ReplayPace(PATIENCE_MS);
  expect(pace.due([hole(10n)], 0)).toEqual([hole(10n)]);
  pace.answered(hole(10n), 210n);
  for (const within of [20n, 100n, 209n]) expect(pace.due([hole(within)], 1_000)).toEqual([]);
  expect(pace.due([hole(210n)], 2_000)).toEqual([hole(210n)]);
  expect(pace.due([hole(210n)], 3_000)).toEqual([]);
  pace.answered(hole(210n), 410n);
  const fresh = { ...hole(410n), waitingMs: PATIENCE_MS - 1 };
  expect(pace.due([fresh], 4_000)).toEqual([]);
  expect(pace.due([hole(410n)], 5_000)).toEqual([hole(410n)]);
});

test('a hole that moves on is asked for after the patience when nobody said how far the answer reaches', () => {
  const pace = new ReplayPace(PATIENCE_MS);
  for (const isAnswered of [false, true]) {
    const fromMs = isAnswered ? HOUR_MS : 0;
    expect(pace.due([hole(10n)], fromMs)).toEqual([hole(10n)]);
    if (isAnswered) pace.answered(hole(10n), null);
    expect(pace.due([hole(20n)], fromMs + PATIENCE_MS - 1)).toEqual([]);
    expect(pace.due([hole(20n)], fromMs + PATIENCE_MS)).toEqual([hole(20n)]);
  }
});

test('what waits for less than the patience is not asked for, and partitions keep their own pace', () => {
  const pace = new ReplayPace(PATIENCE_MS);
  const fresh = { ...hole(5n, 1), waitingMs: PATIENCE_MS - 1 };
  expect(pace.due([hole(10n), fresh], 0)).toEqual([hole(10n)]);
  expect(pace.due([hole(10n), hole(5n, 1)], 1_000)).toEqual([hole(5n, 1)]);
});

test('a hole needs a person after three answers, until it is filled', () => {
  const pace = new ReplayPace(PATIENCE_MS);
  const vain: number[] = [];
  for (let nth = 1; nth <= 4; nth += 1) {
    const nowMs = nth * HOUR_MS;
    for (const due of pace.due([hole(10n)], nowMs)) pace.answered(due, 20n);
    vain.push(pace.vain([hole(10n)]).length);
  }
  expect(vain).toEqual([0, 0, 1, 1]);
  expect(pace.vain([hole(20n)])).toEqual([]);
  pace.due([], 5 * HOUR_MS);
  expect(pace.vain([hole(10n)])).toEqual([]);
});
