import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect, test } from '@jest/globals';

import { readSchemas, SchemaSet } from './schema-set.js';

const DIALECT = 'https://json-schema.org/draft/2020-12/schema';
const PART = {
  $schema: DIALECT,
  $id: 'urn:example:part',
  $defs: { word: { type: 'string', pattern: '^[a-z]+$' } },
};
const WHOLE = {
  $schema: DIALECT,
  $id: 'urn:example:whole',
  type: 'object',
  required: ['word'],
  properties: {
    word: { $ref: 'urn:example:part#/$defs/word' },
    kind: { enum: ['a'], 'x-open-enum': true },
  },
};

test('a value conforms, or every fault is named with its place', () => {
  const schemas = new SchemaSet([WHOLE, PART]);
  expect(schemas.ids).toEqual(['urn:example:whole', 'urn:example:part']);
  expect(schemas.faultsOf('urn:example:whole', { word: 'ok', more: 1 })).toEqual([]);
  expect(schemas.faultsOf('urn:example:whole', {})).toEqual([
    "/: must have required property 'word'",
  ]);
  const faults = schemas.faultsOf('urn:example:whole', { word: 'NO', kind: 'b' });
  expect(faults.map((fault) => fault.split(':', 1)[0])).toEqual(['/word', '/kind']);
});

test('a misspelt keyword, a missing part and an unknown id are errors, not silence', () => {
  expect(() => new SchemaSet([{ ...WHOLE, requird: [] }, PART])).toThrow(/requird/);
  expect(() => new SchemaSet([WHOLE])).toThrow(/urn:example:part/);
  expect(() => new SchemaSet([PART]).faultsOf('urn:example:none', 1)).toThrow(/urn:example:none/);
});

test('the schemas of a folder are known by their file names', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-schemas-'));
  try {
    writeFileSync(join(folder, 'b.v1.schema.json'), JSON.stringify(WHOLE));
    writeFileSync(join(folder, 'a.schema.json'), JSON.stringify(PART));
    writeFileSync(join(folder, 'notes.json'), '{}');
    expect([...readSchemas(folder)]).toEqual([
      ['a', PART],
      ['b.v1', WHOLE],
    ]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
