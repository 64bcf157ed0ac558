import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

import type { DatabaseSync } from 'node:sqlite';

import type { LostRange } from '#libs/spool/core';

import { UNCERTAIN_TAIL } from './lost-ranges.js';
import { attempt, copySound, skipOtherLanes } from './salvage-copy.js';
import {
  connect,
  createTables,
  hasOurTables,
  soundMeta,
  type SoundMeta,
} from './spool-connection.js';
import { DATABASE_FILE, PAGE_BYTES } from './spool-schema.js';
import type { WriterData } from './writer-protocol.js';

/** Where the salvaged rows gather until they replace the damaged file. */
const NEW_FILE = 'spool.new';
/** The identity once more, for a file whose first pages are gone: 32 hex digits. */
const EMITTER_FILE = 'spool.emitter';
/** Stands while a salvage is due whose reason the damaged file itself no longer shows. */
const DAMAGE_MARK = 'spool.damaged';

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
  const head = emptyHead(data);
  const bad = openDamaged(data, head);
  let lost: LostRange[] = [];
  try {
    const meta = (bad === null ? null : attempt(() => soundMeta(bad))) ?? rememberedMeta(data);
    const fresh = makeNew(data, meta);
    if (bad === null) skipOtherLanes(fresh, UNCERTAIN_TAIL);
    else lost = copySound(bad, fresh, meta.ackedPosition, !isTailLost(directory));
    // What cannot be read may have been sent: only holds taken from now on are known to be orphans.
    fresh
      .prepare('INSERT OR REPLACE INTO acknowledged VALUES (?, ?)')
      .run(meta.trimFloor, data.nowMs * 1000);
    fresh.exec('UPDATE spool_meta SET clean = 0');
    fresh.close();
  } finally {
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
  const aside = asideOf(directory, nowMs);
  for (const suffix of ['', '-wal']) {
    if (existsSync(database + suffix)) renameSync(database + suffix, aside + suffix);
  }
  renameSync(join(directory, NEW_FILE), database);
  rmSync(join(directory, DAMAGE_MARK), { force: true });
}

function asideOf(directory: string, nowMs: number): string {
  return join(directory, `spool.bad-${nowMs}`);
}

function makeNew(data: WriterData, meta: SoundMeta): DatabaseSync {
  const path = join(data.directory, NEW_FILE);
  for (const suffix of ['', '-wal']) rmSync(path + suffix, { force: true });
  const fresh = connect(path, data.ack);
  createTables(fresh, meta, data.nowMs);
  return fresh;
}

/** The first page of an empty spool: it names the tables and is the same in every file but for counters. */
function emptyHead(data: WriterData): Buffer {
  makeNew(data, { emitterId: data.freshEmitterId, ackedPosition: 0, trimFloor: 0 }).close();
  const head = Buffer.alloc(PAGE_BYTES);
  const file = openSync(join(data.directory, NEW_FILE), 'r');
  readSync(file, head, 0, PAGE_BYTES, 0);
  closeSync(file);
  return head;
}

/** Opens the damaged file; when its first page is hurt, that page is kept aside and written anew. */
function openDamaged(data: WriterData, head: Buffer): DatabaseSync | null {
  const path = join(data.directory, DATABASE_FILE);
  const bad = attempt(() => connect(path, data.ack));
  if (bad !== null && attempt(() => hasOurTables(bad)) === true) return bad;
  bad?.close();
  const pages = Math.floor(statSync(path).size / PAGE_BYTES);
  if (pages === 0) return null;
  const old = Buffer.alloc(PAGE_BYTES);
  const repaired = Buffer.from(head);
  repaired.writeUInt32BE(pages, 28);
  const file = openSync(path, 'r+');
  readSync(file, old, 0, PAGE_BYTES, 0);
  writeFileSync(`${asideOf(data.directory, data.nowMs)}-head`, old, { mode: 0o600, flush: true });
  writeSync(file, repaired, 0, PAGE_BYTES, 0);
  fsyncSync(file);
  closeSync(file);
  return attempt(() => connect(path, data.ack));
}

/** Without a sound row everything readable is published again, which its receivers drop. */
function rememberedMeta(data: WriterData): SoundMeta {
  const path = join(data.directory, EMITTER_FILE);
  const text = existsSync(path) ? readFileSync(path, 'latin1').trim() : '';
  const isName = /^[0-9a-f]{32}$/.test(text);
  const emitterId = isName ? Buffer.from(text, 'hex') : data.freshEmitterId;
  return { emitterId, ackedPosition: 0, trimFloor: 0 };
}
