import { describe, expect, test } from '@jest/globals';

import { parseUsageRated } from './rated-message.js';

const MESSAGE = {
  batch_id: 'ab'.repeat(32),
  source: { topic: 'request.completed', partition: 0, first: '10', last: '19' },
  subjects: [
    { scope: 'key', subject_id: 'k', events: 1, charge_pusd: '5', tokens_in: 1, tokens_out: 1 },
  ],
  holds: [{ hold_id: 'h.1', charge_pusd: '5', provenance: 'measured' }],
  watermarks: [],
};

function bytes(value: unknown): Buffer {
  return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
}

describe('reading a rated message', () => {
  test('a whole one is taken as it is, members of a later version included', () => {
    const later = { ...MESSAGE, adjust: [] };
    expect(parseUsageRated(bytes(later))).toEqual(later);
  });

  test.each([
    ['a text that is no JSON', 'value', '{'],
    ['bytes that are no UTF-8', 'value', Buffer.from([0x7b, 0xff])],
    ['a list', 'value', []],
    ['no batch id', 'batch_id', { ...MESSAGE, batch_id: undefined }],
    ['an upper-case batch id', 'batch_id', { ...MESSAGE, batch_id: 'AB'.repeat(32) }],
    ['no source', 'source', { ...MESSAGE, source: null }],
    ['a range that ends before it begins', 'source.last', withSource({ last: '9' })],
    ['an offset as a number', 'source.first, source.last', withSource({ first: 10 })],
    ['an unknown scope', 'subjects.scope', withSubject({ scope: 'planet' })],
    ['an empty subject', 'subjects.subject_id', withSubject({ subject_id: '' })],
    ['money as a number', 'subjects.charge_pusd', withSubject({ charge_pusd: 5 })],
    ['negative money', 'subjects.charge_pusd', withSubject({ charge_pusd: '-5' })],
    [
      'money beyond every budget',
      'subjects.charge_pusd',
      withSubject({ charge_pusd: '9'.repeat(31) }),
    ],
    ['holds that are no list', 'holds', { ...MESSAGE, holds: {} }],
    ['an unknown provenance', 'holds.provenance', withHold({ provenance: 'guessed' })],
  ])('%s is refused and the member named', (_name, member, value) => {
    const given = Buffer.isBuffer(value) ? value : bytes(value);
    expect(() => parseUsageRated(given)).toThrow(
      expect.objectContaining({ code: 'budget.malformed_event', details: { member } }),
    );
  });
});

function withSource(change: object): object {
  return { ...MESSAGE, source: { ...MESSAGE.source, ...change } };
}

function withSubject(change: object): object {
  return { ...MESSAGE, subjects: [{ ...MESSAGE.subjects[0], ...change }] };
}

function withHold(change: object): object {
  return { ...MESSAGE, holds: [{ ...MESSAGE.holds[0], ...change }] };
}
