import { rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect, test } from '@jest/globals';

import { appendBytes, openBytes, packGroup } from '../src/sqlite/record-codec.js';
import { RESERVE_BYTES, ReserveFile } from '../src/sqlite/reserve-file.js';
import { openSpoolFile } from '../src/sqlite/spool-opening.js';
import { sqliteFault } from '../src/sqlite/sqlite-fault.js';
import { idOf, inDirectory, withSpool } from './spool-fixture.js';

const headersJson = '{}';

function group(name: string, firstAttempt: number): Buffer {
  const body = Buffer.alloc(60_000, name);
  const open = { requestId: idOf(name), attempt: 1, lane: 1, holdPicoUsd: 1n, body };
  const append = { lane: 1, eventId: idOf(name), closes: 0, headersJson, body };
  const bytes = openBytes(open) + appendBytes(append);
  return packGroup({ atUs: 1, firstAttempt, opens: [open], marks: [], appends: [append] }, bytes);
}

test('a transaction that the volume does not take leaves nothing, and no number is used up', () =>
  inDirectory(async (directory) => {
    const retention = { keepAckedMs: 1e9, keepAckedBytes: 1e9 };
    const freshEmitterId = Buffer.alloc(16, 1);
    const { file } = openSpoolFile({
      directory,
      ack: 'fsync',
      ...retention,
      freshEmitterId,
      nowMs: 1,
    });
    file.commit(group('a', 1));
    const pages = Number(file.db.prepare('PRAGMA page_count').get()?.['page_count']);
    file.db.exec(`PRAGMA max_page_count = ${pages + 5}`);
    let failure: unknown = null;
    try {
      file.commit(group('b', 2));
    } catch (error) {
      failure = error;
    }
    expect(sqliteFault(failure)).toBe('disk_full');
    expect([file.lastPosition, file.ledger.openNumbers()]).toEqual([1, [1]]);
    file.db.exec('PRAGMA max_page_count = 100000');
    expect(file.commit(group('c', 3))).toBe(2);
    const rows = file.db.prepare('SELECT pos, lane, seq FROM spool').all();
    expect(rows.map((row) => ({ ...row }))).toEqual([
      { pos: 1, lane: 1, seq: 1 },
      { pos: 2, lane: 1, seq: 2 },
    ]);
    expect(file.ledger.openNumbers()).toEqual([1, 3]);
    file.db.close();
  }));

test('the reserve is made of real blocks and stands again after it was given up', () =>
  inDirectory(async (directory) => {
    const path = join(directory, 'spool.reserve');
    await withSpool(directory, async (spool) => {
      expect(spool.health()).toBe('ok');
      const { size, blocks } = statSync(path);
      expect(size).toBe(RESERVE_BYTES);
      expect(blocks * 512).toBeGreaterThanOrEqual(RESERVE_BYTES);
    });
    const reserve = new ReserveFile(directory);
    reserve.giveUp();
    expect(reserve.stands()).toBe(false);
    writeFileSync(path, 'half');
    expect(reserve.stands()).toBe(false);
    expect(reserve.restore()).toBe(true);
    expect(reserve.stands()).toBe(true);
    rmSync(path);
  }));
