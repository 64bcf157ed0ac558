import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import {
  appendBytes,
  crcOfRow,
  eventIdText,
  openBytes,
  packGroup,
  readAppend,
  readFramed,
  readGroup,
  readOpens,
  sealAppend,
  type AppendRecord,
  type Group,
} from './record-codec.js';

const body = fc.uint8Array({ maxLength: 300 });
const lane = fc.nat(0xffff_ffff);
const counter = fc.nat(Number.MAX_SAFE_INTEGER);
const open = fc.record({
  requestId: fc.uuid(),
  attempt: fc.integer({ min: 1, max: 65_535 }),
  lane,
  holdPicoUsd: fc.bigInt(0n, 2n ** 63n - 1n),
  body,
});
const append = fc.record({
  lane,
  eventId: fc.uuid(),
  closes: counter,
  headersJson: fc
    .dictionary(fc.string(), fc.string({ unit: 'binary' }))
    .map((it) => JSON.stringify(it)),
  body,
});
const mark = fc.record({ attemptNumber: counter, tokensOut: counter });
const group = fc.record({
  atUs: counter,
  firstAttempt: counter,
  opens: fc.array(open, { maxLength: 6 }),
  appends: fc.array(append, { maxLength: 6 }),
  marks: fc.array(mark, { maxLength: 3 }),
});

function pack(value: Group): Buffer {
  const bytes = [...value.opens.map(openBytes), ...value.appends.map(appendBytes)];
  return packGroup(
    value,
    bytes.reduce((sum, size) => sum + size, 0),
  );
}

function unpack(packed: Buffer): Group {
  const read = readGroup(packed);
  const appends: AppendRecord[] = [];
  for (let at = 0; at < read.appends.length;) {
    const { lane: onLane, closes, eventId, framed, sealed } = readAppend(read.appends, at);
    const parts = readFramed(framed);
    appends.push({
      lane: onLane,
      closes,
      eventId: eventIdText(eventId),
      headersJson: JSON.stringify(parts.headers),
      body: Uint8Array.from(parts.body),
    });
    at += 4 + sealed.length;
  }
  expect(appends).toHaveLength(read.appendCount);
  const opens = readOpens(read.opens).map((it) => ({ ...it, body: Uint8Array.from(it.body) }));
  expect(opens).toHaveLength(read.openCount);
  return { atUs: read.atUs, firstAttempt: read.firstAttempt, marks: read.marks, opens, appends };
}

describe('a packed group', () => {
  test('reads back as it was', () => {
    fc.assert(
      fc.property(group, (value) => {
        expect(unpack(pack(value))).toEqual(value);
      }),
    );
  });

  test('has a checksum per event that a read of its columns repeats and any flipped bit breaks', () => {
    fc.assert(
      fc.property(append, counter, counter, fc.nat(), (record, atUs, sequence, bit) => {
        const value = { atUs, firstAttempt: 1, opens: [], marks: [], appends: [record] };
        const packed = readAppend(readGroup(pack(value)).appends, 0);
        const crc = sealAppend(packed, sequence);
        const { eventId, framed, closes } = packed;
        const row = { closes, sequence, atUs, lane: packed.lane, eventId, framed };
        expect(crcOfRow(row)).toBe(crc);
        const flipped = Buffer.from(framed);
        const at = bit % (framed.length * 8);
        flipped[at >> 3] = flipped[at >> 3]! ^ (1 << (at & 7));
        expect(crcOfRow({ ...row, framed: flipped })).not.toBe(crc);
        expect(crcOfRow({ ...row, lane: (packed.lane ^ (1 << (bit % 32))) >>> 0 })).not.toBe(crc);
      }),
    );
  });

  test('refuses an id that is no UUID', () => {
    for (const requestId of [
      '',
      'x'.repeat(36),
      '0'.repeat(35),
      '00000000-0000-0000-0000-00000000000g',
    ]) {
      const opens = [{ requestId, attempt: 1, lane: 0, holdPicoUsd: 0n, body: new Uint8Array() }];
      expect(() => pack({ atUs: 0, firstAttempt: 1, opens, marks: [], appends: [] })).toThrow(
        'UUID',
      );
    }
  });
});
