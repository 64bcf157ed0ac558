import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { SystemClock, toRfc3339 } from './clock.js';

const FORM = /^([+-]\d{6}|\d{4})-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

describe('toRfc3339', () => {
  test('the text of any instant reads as the same millisecond', () => {
    fc.assert(
      fc.property(fc.double({ min: -8.64e15, max: 8.64e15, noNaN: true }), (timeMs) => {
        const text = toRfc3339(timeMs);
        expect(text).toMatch(FORM);
        expect(Date.parse(text)).toBe(Math.trunc(timeMs) + 0);
      }),
    );
  });

  test('instants of one second keep their own milliseconds', () => {
    const second = 1_795_168_807_000;
    expect([second + 7, second + 123, second - 1].map(toRfc3339)).toEqual([
      '2026-11-20T10:00:07.007Z',
      '2026-11-20T10:00:07.123Z',
      '2026-11-20T10:00:06.999Z',
    ]);
  });

  test('what is no instant throws', () => {
    expect(() => toRfc3339(Number.NaN)).toThrow(RangeError);
  });
});

describe('SystemClock', () => {
  test('tells the time of the day in milliseconds, and durations that never shrink', () => {
    const clock = new SystemClock();
    expect(toRfc3339(clock.nowMs())).toMatch(/^2\d{3}-/);
    const first = clock.monotonicMs();
    expect(clock.monotonicMs()).toBeGreaterThanOrEqual(first);
  });
});
