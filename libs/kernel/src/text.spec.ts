import { expect, test } from '@jest/globals';

import { isColumnText } from './text.js';

test('a bound of characters is the same for every script', () => {
  for (const character of ['a', 'ë', '漢', '😀']) {
    expect(isColumnText(character.repeat(255), 255)).toBe(true);
    expect(isColumnText(character.repeat(256), 255)).toBe(false);
  }
});

test.each([
  ['empty text', ''],
  ['U+0000', 'a\0b'],
  ['half a pair', '\ud83d'],
  ['no text', 5],
])('%s fits no column', (_what, value) => {
  expect(isColumnText(value, 255)).toBe(false);
});
