/** Guarantee: whatever the published schema of an event allows can be read, to the last bound. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { projectRoot } from '#libs/platform/config';
import { readSchemas, SchemaSet } from '#libs/platform/schema';

import { decodeCompleted, decodeEnvelope, decodeRejected } from './event-decoder.js';
import { RecordFault } from './field-reader.js';

const folder = join(projectRoot(), 'libs/events');
const events = readSchemas(join(folder, 'schemas'));
const schemas = new SchemaSet([
  ...events.values(),
  ...readSchemas(join(folder, 'schemas/parts')).values(),
]);

type Data = Record<string, unknown>;

const READERS = {
  'request.completed.v1': decodeCompleted,
  'request.rejected.v1': decodeRejected,
} as const;

const types = Object.keys(READERS) as (keyof typeof READERS)[];

function fixture(type: string, size: string): Data {
  return JSON.parse(readFileSync(join(folder, `fixtures/${type}.${size}.json`), 'utf8')) as Data;
}

function bytes(data: Data): Buffer {
  return Buffer.from(JSON.stringify(data));
}

/** Values at the edges of what members allow, beside those of the examples. */
const EDGES: readonly unknown[] = [
  [null, true, false, 0, 1, 0.5, -1, 99, 100, 599, 999, 9999, 10_000, 65_535, 65_536],
  [4_294_967_295, 4_294_967_296, 1e12, 1e12 + 1, Number.MAX_SAFE_INTEGER, 2 ** 53],
  ['', ' ', '0', '00', '-1', '1.5', '9'.repeat(24), '9'.repeat(25), '1'.repeat(26)],
  ['x'.repeat(255), 'x'.repeat(256), 'x'.repeat(257), 'x'.repeat(1025), 'x'.repeat(16_384)],
  ['😀'.repeat(128), '😀'.repeat(255), '😀'.repeat(256), '😀'.repeat(16_384), '\0', '\ud800'],
  ['2026-11-20T10:00:07Z', '2026-02-31T00:00:00Z', '2026-11-20T10:00:07.123456789Z'],
  ['2026-11-20T24:00:00Z', '2026-11-20T10:00:60Z', '0000-01-01T00:00:00Z'],
  ['2026-11-20T10:00:07+01:00', '0191F3A0-1234-7ABC-8DEF-0123456789AB', 'f'.repeat(64)],
  [[], ['a'], Array.from({ length: 64 }, () => 'a'), Array.from({ length: 65 }, () => 'a')],
  [{}, { input_text: 1 }, { input_text: 0 }, { output_text: 1e12 }, { other: 1 }],
].flat();

/** Every word that an enumeration of the type allows. */
function wordsOf(type: string): readonly string[] {
  const found = JSON.stringify(events.get(type)).matchAll(/"enum":(\[[^\]]*\])/g);
  return [...found].flatMap(([, words]) => JSON.parse(words!) as string[]);
}

/** Required of writers for later readers; metering has no use for them. */
const UNREAD: ReadonlySet<string> = new Set([
  'client_request_id',
  'client_retry_count',
  'traceparent',
]);

describe.each(types)('%s', (type) => {
  const read = READERS[type];
  const id = `urn:tollgate:event:${type}`;
  const examples = ['minimal', 'full'].map((size) => fixture(type, size));
  const words = [...wordsOf(type), 'measured', 'estimated_partial', 'zero_not_sent'];
  const seeds = [...EDGES, ...words, ...examples.flatMap((data) => Object.values(data))];

  const checkRead = (data: Data): void => {
    if (schemas.faultsOf(id, data).length === 0) expect(() => read(bytes(data))).not.toThrow();
  };

  test('every value of every member that conforms is read', () => {
    for (const example of examples) {
      for (const name of Object.keys(example)) {
        for (const value of seeds) {
          checkRead({ ...example, [name]: value });
        }
      }
    }
  });

  test('so is every combination of them', () => {
    const names = Object.keys(examples[1]!);
    const change = fc.tuple(fc.constantFrom(...names), fc.constantFrom(...seeds));
    fc.assert(
      fc.property(
        fc.constantFrom(...examples),
        fc.array(change, { maxLength: 4 }),
        (from, made) => {
          checkRead({ ...from, ...Object.fromEntries(made) });
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test('a record without a required member is a fault that names the member', () => {
    const [minimal = {}] = examples;
    for (const name of events.get(type)!['required'] as string[]) {
      const { [name]: _removed, ...rest } = minimal;
      // Members that no column keeps are not read.
      if (UNREAD.has(name)) continue;
      expect(() => read(bytes(rest))).toThrow(RecordFault);
      expect(() => read(bytes(rest))).toThrow(name);
    }
  });

  test('what is not a JSON object in UTF-8 is a fault', () => {
    for (const value of ['', '{', '[]', 'null', '"a"', '1']) {
      expect(() => read(Buffer.from(value))).toThrow(RecordFault);
    }
    expect(() => read(Buffer.from([0x22, 0xff, 0x22]))).toThrow(RecordFault);
  });
});

test('a priced attempt with tokens names its price, for the schema and for the reader', () => {
  const data = { ...fixture('request.completed.v1', 'full'), price_id: null };
  expect(schemas.faultsOf('urn:tollgate:event:request.completed.v1', data)).toContainEqual(
    expect.stringContaining('/price_id'),
  );
  expect(() => decodeCompleted(bytes(data))).toThrow('price_id');
});

test('of a broken attempt remains whose money it is and how much was held', () => {
  const full = fixture('request.completed.v1', 'full');
  const broken = { ...full, occurred_at: 'never', team_id: 7, hold: 'gone', model: '' };
  expect(() => decodeCompleted(bytes(broken))).toThrow(RecordFault);
  expect(decodeEnvelope(bytes(broken))).toMatchObject({
    eventId: full['event_id'],
    keyId: full['key_id'],
    teamId: null,
    model: 'unknown',
    provider: 'openai',
    holdPicoUsd: BigInt(String(full['hold_pusd'])),
    holdId: null,
  });
  for (const name of ['event_id', 'request_id', 'attempt', 'key_id', 'hold_pusd']) {
    expect(decodeEnvelope(bytes({ ...full, [name]: '?' }))).toBeNull();
  }
});
