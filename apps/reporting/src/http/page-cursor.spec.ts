import { expect, test } from '@jest/globals';
import fc from 'fast-check';

import { formatPageCursor, parsePageCursor } from './page-cursor.js';

const time = fc.nat({ max: 7_258_118_400_000 });

test('a page word is read back as it was made, and may stand in a query as it is', () => {
  fc.assert(
    fc.property(time, time, time, fc.uuid(), (startMs, endMs, occurredAtMs, eventId) => {
      const cursor = { startMs, endMs, after: { occurredAtMs, eventId } };
      const word = formatPageCursor(cursor);
      expect(parsePageCursor(word)).toEqual(cursor);
      expect(encodeURIComponent(word)).toBe(word);
    }),
  );
});

test('any other text is no page word', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      expect(parsePageCursor(text)).toBeNull();
    }),
  );
  const wordOf = (members: unknown): string =>
    Buffer.from(JSON.stringify(members)).toString('base64url');
  const id = '00000000-0000-4000-8000-000000000000';
  for (const members of [
    [2, 0, 1, 1, id],
    [1, 0, 1, 1],
    [1, -1, 1, 1, id],
    [1, 0, 1.5, 1, id],
    [1, 0, 9e15, 1, id],
    {},
  ]) {
    expect(parsePageCursor(wordOf(members))).toBeNull();
  }
  expect(parsePageCursor(wordOf([1, 0, 1, 1, "' OR 1=1"]))).toBeNull();
});
