/*
 * The write-ahead log is cut inside its last transaction, as a crash of the machine leaves it, and
 * damaged before its end, as a failing disk does.
 */
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

import { describe, expect, test } from '@jest/globals';

import { openSpoolFile } from '../src/sqlite/spool-opening.js';
import { SpoolReader } from '../src/sqlite/spool-reader.js';
import { SpoolTrimmer } from '../src/sqlite/spool-trimmer.js';
import { dataOf, EMITTER, groupOf, inMemory, lay, readSpoolFile } from './file-fixture.js';

/** A file of committed groups, copied while it is open, with the log's length before the last. */
function groups(
  directory: string,
  sizes: readonly number[],
): { database: Buffer; log: Buffer; beforeLast: number } {
  const live = join(directory, 'live');
  const { file } = openSpoolFile(dataOf(live));
  let beforeLast = 0;
  for (const [group, size] of sizes.entries()) {
    beforeLast = readSpoolFile(live, '-wal').length;
    file.commit(groupOf(Array.from({ length: size }, (_, index) => `${group}.${index}`)));
  }
  const copy = { database: readSpoolFile(live, ''), log: readSpoolFile(live, '-wal'), beforeLast };
  file.db.close();
  return copy;
}

function countOf(directory: string): number {
  const db = new DatabaseSync(join(directory, 'spool.db'));
  db.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = OFF');
  const count = Number(db.prepare('SELECT count(*) AS n FROM spool').get()?.['n']);
  db.close();
  return count;
}

describe('a torn write-ahead log', () => {
  test('loses its last transaction whole and nothing before it, cut at every single byte', () =>
    inMemory(async (directory) => {
      const { database, log, beforeLast } = groups(directory, [8, 8, 1]);
      const cut = join(directory, 'cut');
      for (let length = beforeLast; length < log.length; length += 1) {
        lay(cut, database, log.subarray(0, length));
        if (countOf(cut) !== 16) throw new Error(`cut at byte ${length} of ${log.length}`);
      }
      lay(cut, database, log);
      expect(countOf(cut)).toBe(17);
    }));

  test('is opened with every counter where the last whole transaction left it', () =>
    inMemory(async (directory) => {
      const { database, log, beforeLast } = groups(directory, [8, 8, 8]);
      const cut = join(directory, 'cut');
      const step = Math.max(1, Math.floor((log.length - beforeLast) / 300));
      for (let length = beforeLast; length < log.length; length += step) {
        lay(cut, database, log.subarray(0, length));
        const { file, opening } = openSpoolFile(dataOf(cut));
        expect([opening.lastPosition, opening.lastSequences.get(1)]).toEqual([16, 16]);
        expect(opening.lostRanges).toEqual([]);
        file.db.close();
      }
      lay(cut, database, log);
      const { file, opening } = openSpoolFile(dataOf(cut));
      expect(opening.lastPosition).toBe(24);
      file.db.close();
    }));

  test('is found damaged when stored transactions follow the damage, and no number is used again', () =>
    inMemory(async (directory) => {
      const { database, log } = groups(directory, [8, 8, 8]);
      const hurt = join(directory, 'hurt');
      for (let round = 0; round < 60; round += 1) {
        const at = (round * 7_919 + 13) % log.length;
        const damaged = Buffer.from(log);
        damaged[at] = damaged[at]! ^ (1 << (round % 8));
        lay(hurt, database, damaged);
        const { file, opening } = openSpoolFile(dataOf(hurt));
        expect(opening.emitterId).toBe(EMITTER.toString('hex'));
        // A hold from before may belong to what is lost: it is no orphan.
        expect(new SpoolTrimmer(file, dataOf(hurt)).keptSince(7)).toBe(1);
        const kept = opening.lastPosition;
        expect(kept % 8).toBe(0);
        expect(kept).toBeLessThan(24);
        file.commit(groupOf(['next']));
        const { sequence } = new SpoolReader(file.db).read(kept, 1, 1)[0]!;
        expect(sequence).toBe(kept + 1_000_001);
        const lost = { lane: 1, from: BigInt(kept + 1), to: BigInt(kept + 1_000_000) };
        expect(opening.lostRanges).toEqual(kept === 0 ? [] : [lost]);
        file.db.close();
      }
    }));
});
