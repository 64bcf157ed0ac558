import { expect, test } from '@jest/globals';
import fc from 'fast-check';

import { toRfc3339 } from '#libs/kernel';

import { TimeText } from './time-text.js';

test('gives what toRfc3339 gives, for times in any order', () => {
  const times = new TimeText();
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 4_102_444_800_000 }),
      fc.nat({ max: 2_500 }),
      (at, more) => {
        expect(times.of(at)).toBe(toRfc3339(at));
        expect(times.of(at + more)).toBe(toRfc3339(at + more));
      },
    ),
  );
});
