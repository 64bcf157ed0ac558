import { expect, test } from '@jest/globals';

import type { LaneRange, SpoolEvent } from '#libs/spool/core';

import { LossReporter } from './loss-reporter.js';

test('a lost range is said once, and again to who still misses it later; people are told once', async () => {
  const said: SpoolEvent[] = [];
  const told: LaneRange[] = [];
  let nowMs = 1_000;
  const losses = new LossReporter({
    spool: { emitterId: 'e'.repeat(32), append: async (event) => void said.push(event) },
    logPartitions: 3,
    clock: { nowMs: () => 1_800_000_000_000, monotonicMs: () => nowMs },
    onLost: (range) => told.push(range),
  });
  const range = { lane: 4, from: 5n, to: 7n };
  await losses.report([range]);
  // Asked at once by a repeat of the question.
  await losses.report([range]);
  expect(said).toHaveLength(1);
  // Its reader had not met the gap, which is in another lane than the answer, and asks 30 s later.
  nowMs += 30_000;
  await losses.report([range]);
  expect(said.map(({ lane, eventId }) => [lane, eventId])).toEqual([
    [1, said[0]!.eventId],
    [1, said[0]!.eventId],
  ]);
  expect(told).toEqual([range]);
});
