import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { lostAfterSalvage, type LaneSurvey } from './lost-ranges.js';

const survey = (published: number, last: number, sound: readonly number[]): LaneSurvey => ({
  published,
  last,
  sound: new Set(sound),
});

describe('sequences lost to a damaged file', () => {
  test('are the ones that are neither published nor sound', () => {
    const lanes = new Map([[4, survey(2, 9, [1, 2, 4, 5, 8])]]);
    expect(lostAfterSalvage(lanes, true)).toEqual([
      { lane: 4, from: 3n, to: 3n },
      { lane: 4, from: 6n, to: 7n },
      { lane: 4, from: 9n, to: 9n },
    ]);
  });

  test('include a margin behind the last known one when the end cannot be read', () => {
    const lanes = new Map([
      [0, survey(0, 2, [1, 2])],
      [1, survey(0, 2, [1])],
    ]);
    expect(lostAfterSalvage(lanes, false)).toEqual([
      { lane: 0, from: 3n, to: 1_000_002n },
      { lane: 1, from: 2n, to: 1_000_002n },
    ]);
  });

  test('and the sound and published ones make up every sequence exactly once', () => {
    const lane = fc.record({
      published: fc.nat(20),
      last: fc.nat(40),
      sound: fc.uniqueArray(fc.integer({ min: 1, max: 40 })),
    });
    fc.assert(
      fc.property(lane, ({ published, last, sound }) => {
        const kept = sound.filter((sequence) => sequence <= last);
        const lost = new Set<number>();
        for (const range of lostAfterSalvage(new Map([[0, survey(published, last, kept)]]), true)) {
          for (let at = Number(range.from); at <= Number(range.to); at += 1) lost.add(at);
        }
        for (let sequence = 1; sequence <= last; sequence += 1) {
          const isSafe = sequence <= published || kept.includes(sequence);
          expect(lost.has(sequence)).toBe(!isSafe);
        }
      }),
    );
  });
});
