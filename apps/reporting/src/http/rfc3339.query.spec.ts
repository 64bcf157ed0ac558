import { expect, test } from '@jest/globals';
import fc from 'fast-check';

import { toRfc3339 } from '#libs/kernel';

import { parseTime } from './rfc3339.query.js';

test('a time that we print is read back to the millisecond', () => {
  fc.assert(
    fc.property(fc.nat({ max: 7_258_118_400_000 }), (timeMs) => {
      expect(parseTime(toRfc3339(timeMs))).toBe(timeMs);
    }),
  );
});

test.each([
  ['2026-11-20T10:00:00', Date.UTC(2026, 10, 20, 10)],
  ['2026-11-20T10:00Z', Date.UTC(2026, 10, 20, 10)],
  ['2026-11-20T10:00:00+02:00', Date.UTC(2026, 10, 20, 8)],
  ['2026-11-20T10:00:00.5Z', Date.UTC(2026, 10, 20, 10, 0, 0, 500)],
  ['2026-11-20T10:00:00.123999999Z', Date.UTC(2026, 10, 20, 10, 0, 0, 123)],
  ['2028-02-29T00:00:00Z', Date.UTC(2028, 1, 29)],
])('%s is a time, in UTC unless it names a zone', (text, timeMs) => {
  expect(parseTime(text)).toBe(timeMs);
});

test.each([
  '',
  'now',
  '2026-11-20',
  '20261120T100000Z',
  '2026-02-30T00:00:00Z',
  '2026-11-20T24:00:00Z',
  '2026-11-20T10:60:00Z',
  '2026-11-20T10:00:00 02:00',
  '1969-12-31T23:59:59Z',
  '2300-01-01T00:00:00Z',
  '1795168800',
])('%j is no time', (text) => {
  expect(parseTime(text)).toBeNull();
});
