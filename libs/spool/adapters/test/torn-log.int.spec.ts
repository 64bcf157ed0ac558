/*
 * The write-ahead log is cut inside its last transaction, as a crash of the machine leaves it, and
 * damaged before its end, as a failing disk does.
 */
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';

import { openSpoolFile } from '../src/sqlite/spool-opening.js';
import { appendBytes, packGroup, type AppendRecord } from '../src/sqlite/record-codec.js';
import { SpoolReader } from '../src/sqlite/spool-reader.js';
import type { WriterData } from '../src/sqlite/writer-protocol.js';
import { idOf, inDirectory, looseEventOf } from './spool-fixture.js';

const EMITTER = Buffer.alloc(16, 7);

function dataOf(directory: string): WriterData {
  const retention = { keepAckedMs: 1e9, keepAckedBytes: 1e9 };
  return { directory, ack: 'fsync', ...retention, freshEmitterId: EMITTER, nowMs: 1 };
}

function groupOf(names: readonly string[]): Buffer {
  const appends = names.map((name): AppendRecord => {
    const { lane, eventId, headers, body } = looseEventOf(name, 1);
    return { lane, eventId, closes: 0, headersJson: JSON.stringify(headers), body };
  });
  const bytes = appends.reduce((sum, record) => sum + appendBytes(record), 0);
  return packGroup({ atUs: 1, firstAttempt: 1, opens: [], marks: [], appends }, bytes);
}

/** A file of 3 committed groups of 8 events, copied while it is open, with the log's length before the last. */
function threeGroups(directory: string): { database: Buffer; log: Buffer; beforeLast: number } {
  const live = join(directory, 'live');
  const { file } = openSpoolFile(dataOf(live));
  const read = (suffix: string): Buffer => readFileSync(join(live, `spool.db${suffix}`));
  const name = (group: number, index: number): string => `${group}.${index}`;
  let beforeLast = 0;
  for (const group of [0, 1, 2]) {
    beforeLast = read('-wal').length;
    file.commit(groupOf([0, 1, 2, 3, 4, 5, 6, 7].map((index) => name(group, index))));
  }
  const copy = { database: read(''), log: read('-wal'), beforeLast };
  file.db.close();
  return copy;
}

function lay(directory: string, database: Buffer, log: Buffer): void {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory);
  writeFileSync(join(directory, 'spool.db'), database);
  writeFileSync(join(directory, 'spool.db-wal'), log);
}

describe('a torn write-ahead log', () => {
  test('loses its last transaction whole and nothing before it, wherever it is cut', () =>
    inDirectory(async (directory) => {
      const { database, log, beforeLast } = threeGroups(directory);
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
    inDirectory(async (directory) => {
      const { database, log } = threeGroups(directory);
      const hurt = join(directory, 'hurt');
      for (let round = 0; round < 60; round += 1) {
        const at = (round * 7_919 + 13) % log.length;
        const damaged = Buffer.from(log);
        damaged[at] = damaged[at]! ^ (1 << (round % 8));
        lay(hurt, database, damaged);
        const { file, opening } = openSpoolFile(dataOf(hurt));
        expect(opening.emitterId).toBe(EMITTER.toString('hex'));
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

describe('a flipped bit in the file', () => {
  test('is found, and what is not reported lost is there unharmed under the same name', () =>
    inDirectory(async (directory) => {
      const source = join(directory, 'source');
      const { file } = openSpoolFile(dataOf(source));
      const names = Array.from({ length: 200 }, (_, index) => `n${index}`);
      file.commit(groupOf(names));
      file.acknowledge(20);
      file.settle();
      file.db.close();
      const path = join(source, 'spool.db');
      const size = readFileSync(path).length;
      const hurt = join(directory, 'hurt');
      let salvaged = 0;
      for (let round = 0; round < 150; round += 1) {
        rmSync(hurt, { recursive: true, force: true });
        mkdirSync(hurt);
        copyFileSync(join(source, 'spool.emitter'), join(hurt, 'spool.emitter'));
        const bytes = readFileSync(path);
        const at = (round * 7_919 + 13) % size;
        bytes[at] = bytes[at]! ^ (1 << (round % 8));
        writeFileSync(join(hurt, 'spool.db'), bytes);
        const { file: opened, opening } = openSpoolFile(dataOf(hurt));
        expect(opening.emitterId).toBe(EMITTER.toString('hex'));
        expectAccounted(
          opened.db.prepare('SELECT seq, event_id FROM spool').all(),
          opening.lostRanges,
        );
        expect(opening.lastSequences.get(1)).toBeGreaterThanOrEqual(200);
        salvaged += opening.lostRanges.length;
        opened.db.close();
      }
      expect(salvaged).toBeGreaterThan(0);
    }));
});

function expectAccounted(
  rows: readonly Record<string, unknown>[],
  lostRanges: readonly { readonly from: bigint; readonly to: bigint }[],
): void {
  const sound = new Map(rows.map((row) => [row['seq'] as number, row['event_id'] as Uint8Array]));
  for (let sequence = 21; sequence <= 200; sequence += 1) {
    const isLost = lostRanges.some(({ from, to }) => from <= sequence && sequence <= to);
    const eventId = sound.get(sequence);
    expect(eventId !== undefined || isLost).toBe(true);
    if (eventId === undefined || isLost) continue;
    const expected = idOf(`event n${sequence - 1}`).replaceAll('-', '');
    expect(Buffer.from(eventId).toString('hex')).toBe(expected);
  }
}
