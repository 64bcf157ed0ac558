import type { DatabaseSync, SQLInputValue } from 'node:sqlite';

import type { LostRange } from '#libs/spool/core';

import { lostAfterSalvage, OTHER_LANES, UNCERTAIN_TAIL, type LaneSurvey } from './lost-ranges.js';
import { readBlock, soundRow } from './spool-reader.js';

/** Positions between two known ones are tried one by one up to this many in all. */
const MOST_POSITIONS = 5_000_000;
/** Rows copied per transaction. */
const COPY_ROWS = 1_000;

type Row = Record<string, unknown>;

/** What a step gives, or null when the damage is in its way. */
export function attempt<T>(step: () => T): T | null {
  try {
    return step();
  } catch {
    return null;
  }
}

/** What can be seen of the events: where they stand, and what the index says of them. */
interface Survey {
  readonly positions: Set<number>;
  /** Lane and sequence by position. */
  readonly indexed: Map<number, { readonly lane: number; readonly sequence: number }>;
  /** Last deleted sequence per lane. */
  readonly trimmed: Map<number, number>;
  /** Where lanes without rows begin behind. */
  others: number;
  /** Whether every scan reached its end. */
  isComplete: boolean;
}

/**
 * Copies every sound row of a damaged file into an empty one, positions and sequences unchanged, and
 * sees to it that no lane uses a number again.
 * @returns sequences that are neither published nor in a sound row
 */
export function copySound(
  bad: DatabaseSync,
  fresh: DatabaseSync,
  ackedPosition: number,
  isTailCertain: boolean,
): LostRange[] {
  const survey = look(bad);
  const lanes = copyEvents(bad, fresh, survey, ackedPosition);
  for (const [lane, sequence] of survey.trimmed) noteSequence(lanes, lane, sequence, true);
  copyTable(bad, fresh, 'journal', (row) => readBlock(row).length === row['count']);
  endJournalBehind(fresh, ackedPosition);
  copyTable(bad, fresh, 'progress', () => true);
  const isCertain = isTailCertain && survey.isComplete;
  const lost = lostAfterSalvage(lanes, isCertain);
  const others = survey.others + (isCertain ? 0 : UNCERTAIN_TAIL);
  if (others > 0) skipOtherLanes(fresh, others);
  const reserve = fresh.prepare('INSERT INTO spool_lane VALUES (?, ?)');
  for (const [lane, { last }] of lanes) {
    const end = lost.findLast((range) => range.lane === lane)?.to ?? 0n;
    reserve.run(lane, Math.max(last, Number(end)));
  }
  return lost;
}

/**
 * Lets every lane that no row speaks of begin behind a number: its first event then shows the gap that
 * no range can name.
 */
export function skipOtherLanes(fresh: DatabaseSync, sequence: number): void {
  fresh.prepare('INSERT INTO spool_lane VALUES (?, ?)').run(OTHER_LANES, sequence);
}

/** Table and index stand on pages of their own: what one does not show the other may. */
function look(bad: DatabaseSync): Survey {
  const survey: Survey = {
    positions: new Set(),
    indexed: new Map(),
    trimmed: new Map(),
    others: 0,
    isComplete: true,
  };
  const index = 'SELECT lane, seq, pos FROM spool INDEXED BY spool_seq ORDER BY lane';
  scanBothWays(bad, survey, 'SELECT pos FROM spool NOT INDEXED ORDER BY pos', (row) => {
    if (isCounter(row['pos'])) survey.positions.add(row['pos']);
  });
  for (const order of ['', 'DESC']) {
    scan(bad, survey, `${index} ${order}, seq ${order}`, (row) => {
      const { lane, seq: sequence, pos } = row;
      if (!isLane(lane) || !isCounter(sequence) || !isCounter(pos)) return;
      survey.positions.add(pos);
      // A lane's numbers grow no faster than positions, but for what salvages have skipped.
      if (sequence <= pos + 100 * UNCERTAIN_TAIL) survey.indexed.set(pos, { lane, sequence });
    });
  }
  scan(bad, survey, 'SELECT lane, trimmed_seq FROM spool_lane', (row) => {
    const { lane, trimmed_seq: sequence } = row;
    if (lane === OTHER_LANES && isCounter(sequence)) survey.others = sequence;
    if (isLane(lane) && isCounter(sequence)) survey.trimmed.set(lane, sequence);
  });
  return survey;
}

function scanBothWays(
  bad: DatabaseSync,
  survey: Survey,
  sql: string,
  see: (row: Row) => void,
): void {
  for (const order of ['', ' DESC']) scan(bad, survey, sql + order, see);
}

function scan(bad: DatabaseSync, survey: Survey, sql: string, see: (row: Row) => void): void {
  try {
    for (const row of bad.prepare(sql).iterate()) see(row);
  } catch {
    survey.isComplete = false;
  }
}

function isLane(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= 0xffff_ffff;
}

function isCounter(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0;
}

/** Row by row, because a damaged page ends every scan that meets it. */
function copyEvents(
  bad: DatabaseSync,
  fresh: DatabaseSync,
  survey: Survey,
  ackedPosition: number,
): Map<number, LaneSurvey> {
  const lanes = new Map<number, LaneSurvey>();
  const find = attempt(() => bad.prepare('SELECT * FROM spool NOT INDEXED WHERE pos = ?'));
  const insert = fresh.prepare('INSERT INTO spool VALUES (?, ?, ?, ?, ?, ?, ?, ?)');
  let inTransaction = 0;
  for (const position of candidates(survey)) {
    if (inTransaction === 0) fresh.exec('BEGIN');
    const isPublished = position <= ackedPosition;
    const row = attempt(() => find?.get(position)) ?? null;
    const sound = row === null ? null : soundRow(row);
    const isCopied = sound !== null && attempt(() => insert.run(...valuesOf(row!))) !== null;
    const seen = isCopied ? sound : survey.indexed.get(position);
    if (seen !== undefined) {
      const lane = noteSequence(lanes, seen.lane, seen.sequence, isPublished);
      if (isCopied) lane.sound.add(seen.sequence);
    }
    inTransaction = (inTransaction + 1) % COPY_ROWS;
    if (inTransaction === 0) fresh.exec('COMMIT');
  }
  if (inTransaction > 0) fresh.exec('COMMIT');
  return lanes;
}

function candidates(survey: Survey): number[] {
  const known = [...survey.positions].sort((left, right) => left - right);
  const [first, last] = [known[0], known.at(-1)];
  if (first === undefined || last === undefined || last - first > MOST_POSITIONS) return known;
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

function valuesOf(row: Row): SQLInputValue[] {
  const columns = ['pos', 'lane', 'seq', 'closes', 'event_id', 'at_us', 'body', 'crc'];
  return columns.map((column) => row[column] as SQLInputValue);
}

function noteSequence(
  lanes: Map<number, LaneSurvey>,
  lane: number,
  sequence: number,
  isPublished: boolean,
): LaneSurvey {
  let known = lanes.get(lane);
  if (known === undefined) {
    known = { published: 0, last: 0, sound: new Set() };
    lanes.set(lane, known);
  }
  known.last = Math.max(known.last, sequence);
  if (isPublished) known.published = Math.max(known.published, sequence);
  return known;
}

/**
 * Rows behind the last sound one are gone, and their positions are given again: what ends an attempt
 * from now on must stand behind its block.
 */
function endJournalBehind(fresh: DatabaseSync, ackedPosition: number): void {
  fresh
    .prepare(
      `WITH last(pos) AS (SELECT max(?, coalesce(max(pos), 0)) FROM spool)
       UPDATE journal SET spool_pos = (SELECT pos FROM last)
       WHERE spool_pos > (SELECT pos FROM last)`,
    )
    .run(ackedPosition);
}

/** From both ends towards the damage: what stands between two damaged pages is given up. */
function copyTable(
  bad: DatabaseSync,
  fresh: DatabaseSync,
  table: 'journal' | 'progress',
  isSound: (row: Row) => boolean,
): void {
  const places = table === 'journal' ? '?, ?, ?, ?, ?, ?' : '?, ?';
  const insert = fresh.prepare(`INSERT OR IGNORE INTO ${table} VALUES (${places})`);
  for (const order of ['ASC', 'DESC']) {
    attempt(() => {
      for (const row of bad.prepare(`SELECT * FROM ${table} ORDER BY 1 ${order}`).iterate()) {
        if (attempt(() => isSound(row)) !== true) continue;
        attempt(() => insert.run(...(Object.values(row) as SQLInputValue[])));
      }
    });
  }
}
