import { existsSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

import type { DatabaseSync } from 'node:sqlite';

import { AppError } from '#libs/kernel';
import type { LostRange } from '#libs/spool/core';

import { AttemptLedger } from './attempt-ledger.js';
import { ROW_OVERHEAD_BYTES, SpoolFile, type FilePosition } from './spool-file.js';
import { readBlock, readRow } from './spool-reader.js';
import {
  completeExchange,
  isTailLost,
  markTailLost,
  rememberEmitter,
  salvage,
} from './spool-salvage.js';
import { DATABASE_FILE } from './spool-schema.js';
import {
  connect,
  createTables,
  hasOurTables,
  isEmptyFile,
  occupiedBytes,
  soundMeta,
} from './spool-connection.js';
import { sqliteFault } from './sqlite-fault.js';
import { hasCommitsBehindDamage } from './wal-tail.js';
import type { Opening, WriterData } from './writer-protocol.js';

/** Above this size the page check would hold up the start for seconds; the rows' CRCs remain. */
const QUICK_CHECK_BYTES = 256 * 1_048_576;

/** Integrity including indexes is checked up to this size, which takes about half a second. */
const FULL_CHECK_BYTES = 64 * 1_048_576;

/** An open file and what the request thread needs to know of it. */
export interface OpenedFile {
  readonly file: SpoolFile;
  readonly opening: Omit<Opening, 'hasReserve'>;
}

/**
 * Opens the spool of a directory, creates it when there is none, and salvages a damaged one into a
 * new file under the same identity.
 * @throws AppError `spool.in_use`, `spool.sqlite_too_old`, `spool.unknown_format`
 */
export function openSpoolFile(data: WriterData): OpenedFile {
  mkdirSync(data.directory, { recursive: true, mode: 0o700 });
  completeExchange(data.directory, data.nowMs);
  try {
    return openOnce(data, []);
  } catch (error) {
    if (!isDamage(error)) throw error;
    return openOnce(data, salvage(data));
  }
}

function isDamage(error: unknown): boolean {
  if (error instanceof AppError) return error.code.startsWith('spool.damaged');
  // Of a file that names our tables no query fails as malformed unless its pages are.
  const fault = sqliteFault(error);
  return fault === 'damaged' || fault === 'malformed';
}

function openOnce(data: WriterData, lostRanges: readonly LostRange[]): OpenedFile {
  const db = connect(join(data.directory, DATABASE_FILE), data.ack);
  try {
    checkLog(data.directory);
    const meta = readMeta(db, data);
    if (!meta.clean) checkPages(db);
    const state = readState(db, meta);
    db.exec('UPDATE spool_meta SET clean = 0');
    rememberEmitter(data.directory, meta.emitterId);
    const file = new SpoolFile(db, state.position);
    const opening = {
      emitterId: Buffer.from(meta.emitterId).toString('hex'),
      lastPosition: file.lastPosition,
      ackedPosition: file.ackedPosition,
      lastSequences: state.position.lastSequences,
      nextAttempt: state.nextAttempt,
      leftOpen: leftOpen(db, file.ledger),
      unpublishedBytes: file.unpublishedBytes,
      sizeBytes: occupiedBytes(db),
      lostRanges,
    };
    return { file, opening };
  } catch (error) {
    db.close();
    throw error;
  }
}

type Meta = NonNullable<ReturnType<typeof soundMeta>>;

function readMeta(db: DatabaseSync, data: WriterData): Meta {
  if (isEmptyFile(db)) {
    const nothing = { emitterId: data.freshEmitterId, ackedPosition: 0, trimFloor: 0 };
    createTables(db, nothing, data.nowMs);
  }
  const meta = soundMeta(db);
  if (meta === null) throw damaged('what the file says of itself fails its checksum');
  if (!hasOurTables(db)) throw damaged('the tables are not what this version made');
  return meta;
}

function checkLog(directory: string): void {
  if (hasCommitsBehindDamage(join(directory, `${DATABASE_FILE}-wal`))) markTailLost(directory);
  if (isTailLost(directory)) throw damaged('stored transactions of the log are unreadable');
}

function checkPages(db: DatabaseSync): void {
  const path = db.location();
  const size = path !== null && existsSync(path) ? statSync(path).size : 0;
  if (size > QUICK_CHECK_BYTES) return;
  const pragma = size > FULL_CHECK_BYTES ? 'quick_check' : 'integrity_check';
  const verdict = Object.values(db.prepare(`PRAGMA ${pragma}(1)`).get() ?? {})[0];
  if (verdict !== 'ok') throw damaged(`${pragma} says: ${String(verdict)}`);
}

function damaged(internalMessage: string): AppError {
  const code = 'spool.damaged_file';
  return new AppError({ code, kind: 'internal', publicMessage: 'internal error', internalMessage });
}

interface State {
  readonly position: FilePosition;
  readonly nextAttempt: number;
}

/** Reads everything the counters need, and on the way checks each row that is still to be published. */
function readState(db: DatabaseSync, meta: Meta): State {
  const { emitterId, ackedPosition, trimFloor } = meta;
  let lastPosition = ackedPosition;
  let unpublishedBytes = 0;
  for (const raw of db
    .prepare('SELECT * FROM spool WHERE pos > ? ORDER BY pos')
    .iterate(ackedPosition)) {
    const row = readRow(raw);
    lastPosition = row.position;
    unpublishedBytes += row.framed.byteLength + ROW_OVERHEAD_BYTES;
  }
  const { ledger, nextAttempt } = readLedger(db);
  const lastSequences = readSequences(db);
  const counters = { lastPosition, ackedPosition, lastSequences, unpublishedBytes };
  const position = { emitterId, trimFloor, ledger, ...counters };
  return { position, nextAttempt };
}

function readSequences(db: DatabaseSync): Map<number, number> {
  const last = new Map<number, number>();
  const rows = db.prepare(
    `SELECT lane, max(seq) AS seq FROM (
       SELECT lane, max(seq) AS seq FROM spool GROUP BY lane
       UNION ALL SELECT lane, trimmed_seq FROM spool_lane) GROUP BY lane`,
  );
  for (const row of rows.iterate()) last.set(row['lane'] as number, row['seq'] as number);
  return last;
}

function readLedger(db: DatabaseSync): { ledger: AttemptLedger; nextAttempt: number } {
  const ledger = new AttemptLedger();
  let nextAttempt = 1;
  let floor = Number.MAX_SAFE_INTEGER;
  for (const row of db.prepare('SELECT * FROM journal ORDER BY pos').iterate()) {
    const [first, count, spoolPosition] = [row['pos'], row['count'], row['spool_pos']] as number[];
    if (readBlock(row).length !== count) throw damaged('a block of the journal has another length');
    ledger.opened(first!, count!, spoolPosition!);
    nextAttempt = first! + count!;
    floor = Math.min(floor, spoolPosition!);
  }
  const closings = db.prepare('SELECT pos, closes FROM spool WHERE pos > ? AND closes > 0');
  for (const row of closings.iterate(floor)) {
    ledger.closed(row['closes'] as number, row['pos'] as number);
    nextAttempt = Math.max(nextAttempt, (row['closes'] as number) + 1);
  }
  return { ledger, nextAttempt };
}

function leftOpen(db: DatabaseSync, ledger: AttemptLedger): Opening['leftOpen'] {
  const left: { requestId: string; attempt: number; number: number }[] = [];
  for (const row of db.prepare('SELECT * FROM journal ORDER BY pos').iterate()) {
    readBlock(row).forEach(({ requestId, attempt }, index) => {
      const number = (row['pos'] as number) + index;
      if (ledger.isOpen(number)) left.push({ requestId, attempt, number });
    });
  }
  return left;
}
