/* One bit of the file is flipped while nobody has it open, as a failing disk does: 1,000 times. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect, test } from '@jest/globals';
import fc from 'fast-check';

import { openSpoolFile } from '../src/sqlite/spool-opening.js';
import { dataOf, EMITTER, groupOf, inMemory, lay, readSpoolFile } from './file-fixture.js';
import { idOf } from './spool-fixture.js';

const EVENTS = 200;
const PUBLISHED = 20;
const FLIPS = 1_000;

interface Lost {
  readonly from: bigint;
  readonly to: bigint;
}

/** Every unpublished event is there as it was, or named as lost; which of both for each. */
function account(rows: readonly Record<string, unknown>[], lost: readonly Lost[]): number {
  const sound = new Map(rows.map((row) => [row['seq'] as number, row['event_id'] as Uint8Array]));
  let missing = 0;
  for (let sequence = PUBLISHED + 1; sequence <= EVENTS; sequence += 1) {
    const isLost = lost.some(({ from, to }) => from <= sequence && sequence <= to);
    const eventId = sound.get(sequence);
    if (isLost) missing += 1;
    if (eventId === undefined && !isLost)
      throw new Error(`sequence ${sequence} is unaccounted for`);
    if (eventId === undefined || isLost) continue;
    const expected = idOf(`event n${sequence - 1}`).replaceAll('-', '');
    expect(Buffer.from(eventId).toString('hex')).toBe(expected);
  }
  return missing;
}

test('a flipped bit is found or harmless; what is lost is named, the rest is unharmed, no number is used again', () =>
  inMemory(async (directory) => {
    const source = join(directory, 'source');
    const { file } = openSpoolFile(dataOf(source));
    file.commit(groupOf(Array.from({ length: EVENTS }, (_, index) => `n${index}`)));
    file.acknowledge(PUBLISHED);
    file.settle();
    file.db.close();
    const bytes = readSpoolFile(source, '');
    const hurt = join(directory, 'hurt');
    const seen = { harmless: 0, salvaged: 0, lost: 0 };
    const bits = fc.sample(fc.nat(bytes.length * 8 - 1), { numRuns: FLIPS, seed: 20_260_101 });
    for (const bit of bits) {
      const damaged = Buffer.from(bytes);
      damaged[bit >> 3] = damaged[bit >> 3]! ^ (1 << (bit & 7));
      lay(hurt, damaged, null);
      writeFileSync(join(hurt, 'spool.emitter'), `${EMITTER.toString('hex')}\n`);
      const { file: opened, opening } = openSpoolFile(dataOf(hurt));
      expect(opening.emitterId).toBe(EMITTER.toString('hex'));
      const rows = opened.db.prepare('SELECT seq, event_id FROM spool').all();
      const missing = account(rows, opening.lostRanges);
      seen.lost += missing;
      seen[missing === 0 ? 'harmless' : 'salvaged'] += 1;
      const last = opening.lastSequences.get(1)!;
      expect(last).toBeGreaterThanOrEqual(EVENTS);
      for (const { to } of opening.lostRanges) expect(BigInt(last)).toBeGreaterThanOrEqual(to);
      opened.db.close();
    }
    expect(seen.harmless + seen.salvaged).toBe(FLIPS);
    expect(seen.salvaged).toBeGreaterThan(FLIPS / 10);
  }));
