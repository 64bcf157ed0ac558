import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { appendBytes, packGroup, type AppendRecord } from '../src/sqlite/record-codec.js';
import type { WriterData } from '../src/sqlite/writer-protocol.js';
import { looseEventOf } from './spool-fixture.js';

/** Identity of the files that these tests make. */
export const EMITTER = Buffer.alloc(16, 7);

/** What a file of this identity is opened with. */
export function dataOf(directory: string, ack: WriterData['ack'] = 'fsync'): WriterData {
  const retention = { keepAckedMs: 1e9, keepAckedBytes: 1e9 };
  return { directory, ack, ...retention, freshEmitterId: EMITTER, nowMs: 1 };
}

/** A packed group of events that end nothing, all in lane 1. */
export function groupOf(names: readonly string[]): Buffer {
  const appends = names.map((name): AppendRecord => {
    const { lane, eventId, headers, body } = looseEventOf(name, 1);
    return { lane, eventId, closes: 0, headersJson: JSON.stringify(headers), body };
  });
  const bytes = appends.reduce((sum, record) => sum + appendBytes(record), 0);
  return packGroup({ atUs: 1, firstAttempt: 1, opens: [], marks: [], appends }, bytes);
}

/** Makes a directory hold exactly this database and this log. */
export function lay(directory: string, database: Uint8Array, log: Uint8Array | null): void {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory);
  writeFileSync(join(directory, 'spool.db'), database);
  if (log !== null) writeFileSync(join(directory, 'spool.db-wal'), log);
}

/** One of the files of a spool as it is now. */
export function readSpoolFile(directory: string, suffix: '' | '-wal'): Buffer {
  return readFileSync(join(directory, `spool.db${suffix}`));
}

/** Runs a test that opens thousands of files in a directory of its own, in memory where there is one. */
export async function inMemory(body: (directory: string) => Promise<void>): Promise<void> {
  const parent = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
  const directory = mkdtempSync(join(parent, 'spool-'));
  try {
    await body(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
