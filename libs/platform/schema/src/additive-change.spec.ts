import { expect, test } from '@jest/globals';

import { breakingChanges, type JsonSchema } from './additive-change.js';

const RELEASED = {
  $id: 'urn:example:thing.v1',
  type: 'object',
  required: ['id', 'kind'],
  properties: {
    id: { type: 'string', pattern: '^a$' },
    kind: { enum: ['a', 'b'], 'x-open-enum': true },
    state: { enum: ['on', 'off'] },
    parts: { type: 'array', items: { type: 'object', required: ['n'], properties: { n: {} } } },
    either: { anyOf: [{ type: 'string', maxLength: 3 }, { type: 'null' }] },
  },
  additionalProperties: true,
};

/** The released schema with members of one property replaced. */
function withProperty(name: keyof typeof RELEASED.properties, changes: JsonSchema): JsonSchema {
  const property = { ...RELEASED.properties[name], ...changes };
  return { ...RELEASED, properties: { ...RELEASED.properties, [name]: property } };
}

test('a schema may gain an optional member, a definition, a word of an open enum, and other texts', () => {
  const grown = {
    ...RELEASED,
    title: 'A thing',
    $defs: { more: {} },
    properties: {
      ...RELEASED.properties,
      extra: { type: 'string' },
      kind: { enum: ['a', 'b', 'c'], 'x-open-enum': true, description: 'what it is' },
      parts: {
        type: 'array',
        items: { type: 'object', required: ['n'], properties: { n: {}, note: {} } },
      },
    },
  };
  expect(breakingChanges(RELEASED, RELEASED)).toEqual([]);
  expect(breakingChanges(RELEASED, grown)).toEqual([]);
});

const { id, ...withoutId } = RELEASED.properties;

test.each<[string, JsonSchema, string]>([
  ['a new required member', { ...RELEASED, required: ['id', 'kind', 'state'] }, '/required'],
  ['a member no longer required', { ...RELEASED, required: ['id'] }, '/required'],
  ['a removed member', { ...RELEASED, properties: withoutId }, '/properties/id'],
  ['a renamed member', { ...RELEASED, properties: { ...withoutId, ident: id } }, '/properties/id'],
  ['another type', withProperty('id', { type: 'integer' }), '/properties/id/type'],
  ['another pattern', withProperty('id', { pattern: '^b$' }), '/properties/id/pattern'],
  ['a new bound', withProperty('id', { maxLength: 9 }), '/properties/id/maxLength'],
  ['a new word of a closed enum', withProperty('state', { enum: ['on', 'off', 'x'] }), '/enum'],
  ['a lost word of an open enum', withProperty('kind', { enum: ['a', 'c'] }), '/enum'],
  ['an enum no longer open', withProperty('kind', { 'x-open-enum': false }), '/x-open-enum'],
  [
    'a change inside a list',
    withProperty('parts', { items: { type: 'object', required: ['n', 'm'] } }),
    '/properties/parts/items/required',
  ],
  ['another branch', withProperty('either', { anyOf: [{ type: 'null' }] }), '/either/anyOf'],
  ['members closed', { ...RELEASED, additionalProperties: false }, '/additionalProperties'],
  ['another identity', { ...RELEASED, $id: 'urn:example:other.v1' }, '/$id'],
])('%s breaks readers or writers of the released schema', (_what, current, place) => {
  expect(breakingChanges(RELEASED, current)).toContainEqual(expect.stringContaining(place));
});

test('a lost bound breaks readers that rely on it', () => {
  const { pattern: _pattern, ...unbounded } = id;
  const current = { ...RELEASED, properties: { ...RELEASED.properties, id: unbounded } };
  expect(breakingChanges(RELEASED, current)).toEqual(['/properties/id/pattern: is gone']);
});
