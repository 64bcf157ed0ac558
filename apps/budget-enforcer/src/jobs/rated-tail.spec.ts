/**
 * Guarantee: what metering has finished and nobody receives is missing once its partition has stood
 * still for the patience; a partition that moves is not asked for.
 */
import { expect, test } from '@jest/globals';

import { RatedTail } from './rated-tail.js';

const PATIENCE_MS = 30_000;
const TOPIC = 'request.completed';

function tailOf(nextOffset: string): RatedTail {
  const tail = new RatedTail(PATIENCE_MS);
  tail.learn([{ topic: TOPIC, partition: 0, nextOffset }]);
  return tail;
}

async function read(): Promise<boolean> {
  return true;
}

/** How long each partition has waited, or nothing when it is not behind. */
async function waits(
  tail: RatedTail,
  nextOffset: bigint,
  nowMs: number,
  isRead = read,
): Promise<readonly number[]> {
  const holes = await tail.holes([{ topic: TOPIC, partition: 0, nextOffset }], nowMs, isRead);
  for (const hole of holes) expect(hole).toMatchObject({ topic: TOPIC, fromOffset: nextOffset });
  return holes.map(({ waitingMs }) => waitingMs);
}

test('a partition that stands still before the end waits from when it was first seen', async () => {
  const tail = tailOf('20');
  expect(await waits(tail, 10n, 5_000)).toEqual([0]);
  expect(await waits(tail, 10n, 5_000 + PATIENCE_MS)).toEqual([PATIENCE_MS]);
  expect(await waits(tail, 20n, 40_000)).toEqual([]);
  tail.learn([{ topic: TOPIC, partition: 0, nextOffset: '30' }]);
  expect(await waits(tail, 20n, 50_000)).toEqual([0]);
  expect(await waits(tail, 31n, 90_000)).toEqual([]);
});

test('a partition of which nothing ever came stands at 0', async () => {
  const tail = tailOf('1');
  expect(await tail.holes([], 0, read)).toMatchObject([{ fromOffset: 0n, waitingMs: 0 }]);
  expect(await tail.holes([], PATIENCE_MS, read)).toMatchObject([
    { fromOffset: 0n, waitingMs: PATIENCE_MS },
  ]);
});

test('a partition that moves is only behind, however long', async () => {
  const tail = tailOf('1000');
  for (let at = 0n; at < 100n; at += 1n) {
    expect(await waits(tail, at, Number(at) * (PATIENCE_MS - 1))).toEqual([0]);
  }
});

test('what stood still is missing until all of it has come, though parts of it come', async () => {
  const tail = tailOf('1000');
  await waits(tail, 10n, 0);
  await waits(tail, 10n, PATIENCE_MS);
  expect(await waits(tail, 500n, PATIENCE_MS + 1_000)).toEqual([PATIENCE_MS + 1_000]);
  expect(await waits(tail, 1_000n, PATIENCE_MS + 2_000)).toEqual([]);
});

test('a time in which nothing could be seen is not waited', async () => {
  const tail = tailOf('20');
  await waits(tail, 10n, 0);
  tail.lookAway();
  expect(await waits(tail, 10n, PATIENCE_MS)).toEqual([0]);
});

test('what the log has and nobody has read yet is not missing', async () => {
  const tail = tailOf('20');
  let isRead = false;
  const asked = async (): Promise<boolean> => isRead;
  expect(await waits(tail, 10n, 0, asked)).toEqual([0]);
  expect(await waits(tail, 10n, PATIENCE_MS, asked)).toEqual([0]);
  isRead = true;
  expect(await waits(tail, 10n, 2 * PATIENCE_MS, asked)).toEqual([PATIENCE_MS]);
  isRead = false;
  expect(await waits(tail, 15n, 3 * PATIENCE_MS, asked)).toEqual([2 * PATIENCE_MS]);
});
