import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { DatabaseSync } from 'node:sqlite';

import type { LostRange } from '#libs/spool/core';

import { lostAfterSalvage, type LaneSurvey } from './lost-ranges.js';
import { crcOfMeta } from './record-codec.js';
import { connect, createTables } from './spool-connection.js';
import { readBlock, soundRow } from './spool-reader.js';
import { DATABASE_FILE } from './spool-schema.js';
import type { WriterData } from './writer-protocol.js';

/** Where the salvaged rows gather until they replace the damaged file. */
const NEW_FILE = 'spool.new';
/** The identity once more, for a file whose first pages are gone: 32 hex digits. */
const EMITTER_FILE = 'spool.emitter';
/** Stands while a salvage is due whose reason the damaged file itself no longer shows. */
const DAMAGE_MARK = 'spool.damaged';
/** Rows copied per transaction. */
const COPY_ROWS = 1_000;

/** Keeps the identity beside the file. */
export function rememberEmitter(directory: string, emitterId: Uint8Array): void {
  const path = join(directory, EMITTER_FILE);
  const text = `${Buffer.from(emitterId).toString('hex')}\n`;
  if (existsSync(path) && readFileSync(path, 'latin1') === text) return;
  writeFileSync(path, text, { mode: 0o600, flush: true });
}

/**
 * Copies what is sound of a damaged file into a new one of the same identity, positions and sequences,
 * and puts it in the old one's place; the old one stays as `spool.bad-<time>`. May be killed at any
 * point: the next start begins again or completes the exchange.
 * @returns sequences that no sound row carries and that may not be published
 */
export function salvage(data: WriterData): LostRange[] {
  const { directory } = data;
  const isTailCertain = !isTailLost(directory);
  const target = join(directory, NEW_FILE);
  for (const suffix of ['', '-wal']) rmSync(target + suffix, { force: true });
  const bad = attempt(() => connect(join(directory, DATABASE_FILE), data.ack));
  const fresh = connect(target, data.ack);
  let lost: LostRange[];
  try {
    const meta = readMeta(bad, data);
    createTables(fresh, meta.emitterId, data.nowMs);
    lost = bad === null ? [] : copyAll(bad, fresh, meta, isTailCertain);
    fresh.exec('UPDATE spool_meta SET clean = 0');
  } finally {
    fresh.close();
    bad?.close();
  }
  exchange(directory, data.nowMs);
  return lost;
}

/**
 * Notes that stored transactions of the log are lost: opening the file drops the log's damaged end, so
 * a crash from now on would hide it.
 */
export function markTailLost(directory: string): void {
  writeFileSync(join(directory, DAMAGE_MARK), '', { mode: 0o600, flush: true });
}

/** Whether `markTailLost` was called and no salvage has ended since. */
export function isTailLost(directory: string): boolean {
  return existsSync(join(directory, DAMAGE_MARK));
}

/** Completes an exchange of files that a crash cut in two; nothing to do otherwise. */
export function completeExchange(directory: string, nowMs: number): void {
  if (existsSync(join(directory, DATABASE_FILE))) return;
  if (existsSync(join(directory, NEW_FILE))) exchange(directory, nowMs);
}

/** The database goes aside first: from then on the new file is known to be complete. */
function exchange(directory: string, nowMs: number): void {
  const database = join(directory, DATABASE_FILE);
  const aside = join(directory, `spool.bad-${nowMs}`);
  for (const suffix of ['', '-wal']) {
    if (existsSync(database + suffix)) renameSync(database + suffix, aside + suffix);
  }
  renameSync(join(directory, NEW_FILE), database);
  rmSync(join(directory, DAMAGE_MARK), { force: true });
}

interface Meta {
  readonly emitterId: Uint8Array;
  readonly ackedPosition: number;
  readonly trimFloor: number;
}

/** Without a sound row everything readable is published again, which its receivers drop. */
function readMeta(bad: DatabaseSync | null, data: WriterData): Meta {
  const row = attempt(() => bad?.prepare('SELECT * FROM spool_meta').get());
  const [emitterId, ackedPosition, trimFloor] = [
    row?.['emitter_id'],
    row?.['acked_pos'],
    row?.['trim_floor'],
  ];
  if (
    emitterId instanceof Uint8Array &&
    typeof ackedPosition === 'number' &&
    typeof trimFloor === 'number'
  ) {
    const isSound = crcOfMeta(emitterId, ackedPosition, trimFloor) === row?.['crc'];
    if (isSound) return { emitterId, ackedPosition, trimFloor };
  }
  const path = join(data.directory, EMITTER_FILE);
  const text = existsSync(path) ? readFileSync(path, 'latin1').trim() : '';
  const remembered = /^[0-9a-f]{32}$/.test(text) ? Buffer.from(text, 'hex') : data.freshEmitterId;
  return { emitterId: remembered, ackedPosition: 0, trimFloor: 0 };
}

/** What a step gives, or null when the damage is in its way. */
function attempt<T>(step: () => T): T | null {
  try {
    return step();
  } catch {
    return null;
  }
}

function copyAll(
  bad: DatabaseSync,
  fresh: DatabaseSync,
  meta: Meta,
  isTailCertain: boolean,
): LostRange[] {
  const { emitterId, ackedPosition, trimFloor } = meta;
  const survey = surveyIndex(bad, ackedPosition);
  copyRows(bad, fresh, trimFloor, survey);
  copyTable(bad, fresh, 'journal', (row) => attempt(() => readBlock(row)) !== null);
  copyTable(bad, fresh, 'progress', () => true);
  const lost = lostAfterSalvage(survey.lanes, isTailCertain && survey.isTailCertain);
  fresh
    .prepare('UPDATE spool_meta SET acked_pos = ?, trim_floor = ?, crc = ?')
    .run(ackedPosition, trimFloor, crcOfMeta(emitterId, ackedPosition, trimFloor));
  const reserve = fresh.prepare('INSERT INTO spool_lane VALUES (?, ?)');
  for (const [lane, { last }] of survey.lanes) {
    const end = lost.findLast((range) => range.lane === lane)?.to ?? 0n;
    reserve.run(lane, Math.max(last, Number(end)));
  }
  return lost;
}

interface Survey {
  readonly lanes: Map<number, LaneSurvey>;
  readonly acked: number;
  lastPosition: number;
  /** Whether both the table and its index show where they end. */
  isTailCertain: boolean;
}

/** The index lives on pages of its own and names rows that the table may no longer give. */
function surveyIndex(bad: DatabaseSync, acked: number): Survey {
  const survey: Survey = { lanes: new Map(), acked, lastPosition: acked, isTailCertain: true };
  const note = (sql: string): void => {
    try {
      for (const row of bad.prepare(sql).iterate()) {
        noteSequence(survey, row['lane'] as number, row['seq'] as number, row['pos'] as number);
      }
    } catch {
      survey.isTailCertain = false;
    }
  };
  note('SELECT lane, seq, pos FROM spool INDEXED BY spool_seq ORDER BY lane, seq');
  note('SELECT lane, trimmed_seq AS seq, 0 AS pos FROM spool_lane');
  const last = attempt(() => bad.prepare('SELECT max(pos) AS pos FROM spool').get());
  if (last === null) survey.isTailCertain = false;
  survey.lastPosition = Math.max(survey.lastPosition, Number(last?.['pos'] ?? 0));
  return survey;
}

function noteSequence(
  survey: Survey,
  lane: number,
  sequence: number,
  position: number,
): LaneSurvey {
  let known = survey.lanes.get(lane);
  if (known === undefined) {
    known = { published: 0, last: 0, sound: new Set() };
    survey.lanes.set(lane, known);
  }
  known.last = Math.max(known.last, sequence);
  if (position <= survey.acked) known.published = Math.max(known.published, sequence);
  survey.lastPosition = Math.max(survey.lastPosition, position);
  return known;
}

/** Row by row, because a damaged page ends every scan that meets it. */
function copyRows(bad: DatabaseSync, fresh: DatabaseSync, trimFloor: number, survey: Survey): void {
  const find = bad.prepare('SELECT * FROM spool WHERE pos = ?');
  const insert = fresh.prepare('INSERT INTO spool VALUES (?, ?, ?, ?, ?, ?, ?, ?)');
  for (let from = trimFloor + 1; from <= survey.lastPosition; from += COPY_ROWS) {
    fresh.exec('BEGIN');
    const until = Math.min(survey.lastPosition, from + COPY_ROWS - 1);
    for (let position = from; position <= until; position += 1) {
      const row = attempt(() => find.get(position));
      const sound = row === null || row === undefined ? null : soundRow(row);
      if (row === null || row === undefined || sound === null) continue;
      const stored = ['pos', 'lane', 'seq', 'closes', 'event_id', 'at_us', 'body', 'crc'];
      const isNew = attempt(() => insert.run(...stored.map((column) => row[column]!))) !== null;
      if (isNew)
        noteSequence(survey, sound.lane, sound.sequence, position).sound.add(sound.sequence);
    }
    fresh.exec('COMMIT');
  }
}

function copyTable(
  bad: DatabaseSync,
  fresh: DatabaseSync,
  table: 'journal' | 'progress',
  isSound: (row: Record<string, unknown>) => boolean,
): void {
  const columns = table === 'journal' ? '?, ?, ?, ?, ?, ?' : '?, ?';
  const insert = fresh.prepare(`INSERT OR IGNORE INTO ${table} VALUES (${columns})`);
  // Both ends towards the damage: what stands between two damaged pages is given up.
  for (const order of ['ASC', 'DESC']) {
    attempt(() => {
      for (const row of bad.prepare(`SELECT * FROM ${table} ORDER BY 1 ${order}`).iterate()) {
        if (isSound(row)) insert.run(...Object.values(row));
      }
    });
  }
}
