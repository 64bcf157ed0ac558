/**
 * Guarantee: an authority that is away costs no memory without bound and no hold for ever: whatever it
 * was asked for is given back when it returns, and what it was not asked for need not be.
 */
import { expect, test } from '@jest/globals';

import type { PlaceHoldInput } from '#libs/budgets/core';
import { picoUsd, type Random } from '#libs/kernel';

import { HoldReleaser } from './hold-releaser.js';
import { DirectHoldSource } from './hold-source.js';

const BOUND = 10_000;
const BATCH = 256;

/** Places what it is asked for, also when its answer is lost. */
class Authority {
  readonly held = new Set<string>();
  readonly asked: string[] = [];
  readonly released: string[] = [];
  isAway = false;
  hang: Promise<void> | null = null;

  async placeHolds(_emitter: string, holds: readonly PlaceHoldInput[]) {
    await this.hang;
    for (const { holdId } of holds) {
      this.asked.push(holdId);
      this.held.add(holdId);
    }
    if (this.isAway) throw new Error('the answer is lost');
    return holds.map(({ holdId, wantPicoUsd }) => {
      return { holdId, outcome: 'held' as const, amountPicoUsd: wantPicoUsd, budgets: [] };
    });
  }

  async releaseHolds(_emitter: string, holdIds: readonly string[]): Promise<void> {
    if (this.isAway) throw new Error('away');
    for (const holdId of holdIds) {
      this.held.delete(holdId);
      this.released.push(holdId);
    }
  }
}

function stage() {
  const authority = new Authority();
  // Every pause is the shortest.
  const random: Random = { bytes: (count) => new Uint8Array(count) };
  const onError = (): void => undefined;
  const releaser = new HoldReleaser({ authority, emitterId: 'e', random, onError });
  return { authority, releaser, source: new DirectHoldSource(authority, 'e', releaser) };
}

function hold(holdId: string): PlaceHoldInput {
  return { holdId, subjects: [], wantPicoUsd: picoUsd(2n), leastPicoUsd: picoUsd(1n) };
}

/** @returns how many of so many requests at once were refused */
async function refusedOf(source: DirectHoldSource, name: string, count: number): Promise<number> {
  const holds = Array.from({ length: count }, (_, nth) => source.take(hold(`${name}${nth}`)));
  const results = await Promise.allSettled(holds);
  return results.filter(({ status }) => status === 'rejected').length;
}

test('while the authority is away holds in doubt are bounded, and each is given back when it returns', async () => {
  const { authority, releaser, source } = stage();
  authority.isAway = true;
  for (let round = 0; round < 30; round += 1) {
    expect(await refusedOf(source, `${round}.`, 1_000)).toBe(1_000);
    expect(releaser.pending()).toBeLessThan(BOUND + BATCH);
  }
  expect(releaser.isFull()).toBe(true);
  expect(releaser.pending()).toBe(authority.asked.length);
  authority.isAway = false;
  await releaser.stop();
  expect(releaser.pending()).toBe(0);
  expect(authority.held.size).toBe(0);
  expect(new Set(authority.released)).toEqual(new Set(authority.asked));
  expect(await refusedOf(source, 'later', 100)).toBe(0);
});

test('while the authority is silent the requests that wait for it are bounded, and those refused are not placed', async () => {
  const { authority, source } = stage();
  let answer = (): void => undefined;
  authority.hang = new Promise((resolve) => {
    answer = resolve;
  });
  const asked = source.take(hold('first'));
  await new Promise((resolve) => setImmediate(resolve));
  const refused = refusedOf(source, 'w', BOUND + 50);
  answer();
  expect(await refused).toBe(50);
  await asked;
  expect(authority.asked).toHaveLength(1 + BOUND);
});
