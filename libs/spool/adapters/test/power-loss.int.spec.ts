/*
 * A power loss leaves the synced part of the write-ahead log and any part of the rest. The state of the
 * disk is taken at random moments under load, cut at random places behind what was synced, and opened.
 */
import { cpSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { openSpoolFile } from '../src/sqlite/spool-opening.js';
import { dataOf, groupOf, inMemory, lay, readSpoolFile } from './file-fixture.js';
import { eventOf, inDirectory, intentOf, openSpool, withSpool } from './spool-fixture.js';

/** What the disk holds, and what had been promised when it was read. */
interface Snapshot {
  readonly database: Buffer;
  readonly log: Buffer;
  /** Bytes of the log that a sync had covered. */
  readonly synced: number;
  readonly promised: number;
}

/** Groups of 1 to 6 events, below the first checkpoint, so that the log only grows. */
function snapshots(directory: string, ack: 'process' | 'fsync'): Snapshot[] {
  const { file } = openSpoolFile(dataOf(directory, ack));
  const database = readSpoolFile(directory, '');
  const synced0 = readSpoolFile(directory, '-wal').length;
  const taken: Snapshot[] = [];
  let events = 0;
  for (let group = 0; group < 40; group += 1) {
    const size = 1 + (group % 6);
    file.commit(groupOf(Array.from({ length: size }, (_, index) => `n${events + index}`)));
    events += size;
    const log = readSpoolFile(directory, '-wal');
    const synced = ack === 'fsync' ? log.length : synced0;
    taken.push({ database, log, synced, promised: ack === 'fsync' ? events : 0 });
  }
  const last = taken.at(-1)!;
  file.db.close();
  // What came later may be on disk as well, in whole or in part.
  return taken.map((each) => ({ ...each, log: last.log }));
}

function eventsAfter(directory: string, snapshot: Snapshot, length: number, tail: Buffer): number {
  lay(directory, snapshot.database, Buffer.concat([snapshot.log.subarray(0, length), tail]));
  const { file, opening } = openSpoolFile(dataOf(directory));
  const rows = file.db.prepare('SELECT seq FROM spool ORDER BY pos').all();
  expect(rows.map((row) => row['seq'])).toEqual(rows.map((_, index) => index + 1));
  expect(opening.lastPosition).toBe(rows.length);
  file.db.close();
  return rows.length;
}

describe('after a power loss', () => {
  test.each(['fsync', 'process'] as const)(
    'the events of whole transactions are there, from the first on, and with fsync all that were promised (%s)',
    (ack) =>
      inMemory(async (directory) => {
        const taken = snapshots(join(directory, 'live'), ack);
        const hurt = join(directory, 'hurt');
        const choice = fc.record({
          index: fc.nat(taken.length - 1),
          share: fc.double({ min: 0, max: 1, noNaN: true }),
          zeros: fc.nat(9_000),
        });
        const ends = new Set([0]);
        for (let group = 0, end = 0; group < 40; group += 1) ends.add((end += 1 + (group % 6)));
        for (const { index, share, zeros } of fc.sample(choice, { numRuns: 250, seed: 13 })) {
          const snapshot = taken[index]!;
          const rest = snapshot.log.length - snapshot.synced;
          const length = snapshot.synced + Math.floor(rest * share);
          const events = eventsAfter(hurt, snapshot, length, Buffer.alloc(zeros));
          expect(events).toBeGreaterThanOrEqual(snapshot.promised);
          expect(ends).toContain(events);
        }
      }),
  );

  test('every published event is still there in process mode, so that its number is never another one', () =>
    inDirectory(async (directory) => {
      const live = join(directory, 'live');
      let synced = 0;
      let published = 0n;
      const spool = await openSpool(live, { ack: 'process' });
      try {
        for (let index = 0; index < 60; index += 1) {
          await spool.open(intentOf(`n${index}`));
          await spool.append(eventOf(`n${index}`));
          if (index % 7 !== 3) continue;
          // What stands in the log now is on disk once the batch is handed out.
          synced = statSync(join(live, 'spool.db-wal')).size;
          const batch = await spool.unpublished({ maxEvents: 5, maxBytes: 1_048_576 });
          published = batch.at(-1)!.sequence;
          await spool.markPublished(batch.at(-1)!.position);
        }
        expect(published).toBeGreaterThan(10n);
        const after = join(directory, 'after');
        cpSync(live, after, { recursive: true });
        const log = readSpoolFile(after, '-wal');
        writeFileSync(join(after, 'spool.db-wal'), log.subarray(0, synced));
        await withSpool(after, async (recovered) => {
          await recovered.append({ ...eventOf('later'), closes: null });
          const events = await recovered.unpublished({ maxEvents: 500, maxBytes: 1_048_576 });
          expect(events.at(-1)!.sequence).toBeGreaterThan(published);
        });
      } finally {
        await spool.close();
      }
    }));
});
