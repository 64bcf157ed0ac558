/*
 * A process with 8 writers and a relay is killed at a random moment, again and again on one file. What
 * it had been told is compared with what the file holds.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';

import { expect, test } from '@jest/globals';

import { delay } from '#libs/kernel';
import { eventually } from '#libs/testing';

import { inDirectory, withSpool } from './spool-fixture.js';

const CYCLES = 24;

interface Told {
  readonly opening: Set<string>;
  readonly opened: Set<string>;
  /** Event id by request id. */
  readonly ended: Map<string, string>;
  /** Event id by `lane/sequence`. */
  readonly published: Map<string, string>;
}

/** @param least lines of each kind that the process must have written before its time begins to run */
async function runAndKill(
  directory: string,
  ack: string,
  lifeMs: number,
  least: number,
): Promise<string[]> {
  const script = fileURLToPath(new URL('./crash-load.js', import.meta.url));
  const child = spawn(process.execPath, [script, directory, ack], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const closed = once(child, 'close');
  await once(child.stdout, 'data');
  const log = join(directory, 'told.log');
  await eventually(() => {
    const lines = readFileSync(log, 'utf8').split('\n');
    const count = (word: string): number => lines.filter((line) => line.startsWith(word)).length;
    return count('ended ') >= least && count('published ') >= least;
  });
  await delay(lifeMs);
  child.kill('SIGKILL');
  const [, signal] = await closed;
  expect(signal).toBe('SIGKILL');
  const lines = readFileSync(log, 'utf8').split('\n').slice(0, -1);
  rmSync(log);
  return lines;
}

function takeIn(told: Told, lines: readonly string[]): void {
  for (const line of lines) {
    const [what, first, second, third] = line.split(' ') as [string, string, string, string];
    if (what === 'opening') told.opening.add(first);
    if (what === 'opened') told.opened.add(first);
    if (what === 'ended') told.ended.set(first, second);
    if (what !== 'published') continue;
    const before = told.published.get(`${first}/${second}`);
    expect(before ?? third).toBe(third);
    told.published.set(`${first}/${second}`, third);
  }
}

interface Row {
  readonly lane: number;
  readonly seq: number;
  readonly eventId: string;
}

function rowsOf(directory: string): Row[] {
  const db = new DatabaseSync(join(directory, 'spool.db'));
  const rows = db
    .prepare('SELECT lane, seq, hex(event_id) AS event_id FROM spool ORDER BY pos')
    .all();
  db.close();
  return rows.map((row) => ({
    lane: row['lane'] as number,
    seq: row['seq'] as number,
    eventId: (row['event_id'] as string).toLowerCase(),
  }));
}

function expectNothingLost(
  told: Told,
  rows: readonly Row[],
  openRequests: readonly string[],
): void {
  const stored = new Set(rows.map(({ eventId }) => eventId));
  expect(stored.size).toBe(rows.length);
  const last = new Map<number, number>();
  for (const { lane, seq } of rows) {
    expect(seq).toBe((last.get(lane) ?? 0) + 1);
    last.set(lane, seq);
  }
  const open = new Set(openRequests);
  expect(open.size).toBe(openRequests.length);
  for (const eventId of told.ended.values()) expect(stored).toContain(eventId.replaceAll('-', ''));
  for (const requestId of told.ended.keys()) expect(open).not.toContain(requestId);
  for (const requestId of open) expect(told.opening).toContain(requestId);
  // Stored events are as many as attempts that ended: an attempt stands on one side only.
  const started = [...told.opening].filter((id) => told.opened.has(id) || open.has(id));
  expect(started.length).toBe(open.size + rows.length);
  const bySequence = new Map(rows.map(({ lane, seq, eventId }) => [`${lane}/${seq}`, eventId]));
  for (const [key, id] of told.published) expect(bySequence.get(key)).toBe(id.replaceAll('-', ''));
}

test.each(['process', 'fsync'] as const)(
  'what a promise confirmed is there after kill -9, once, in gap-free sequences (%s)',
  (ack) =>
    inDirectory(async (directory) => {
      const told: Told = {
        opening: new Set(),
        opened: new Set(),
        ended: new Map(),
        published: new Map(),
      };
      for (let cycle = 0; cycle < CYCLES / 2; cycle += 1) {
        // Every other process is killed at any moment of its life, the others once they have done something.
        const least = cycle % 2 === 0 ? 0 : 6;
        takeIn(told, await runAndKill(directory, ack, 20 + ((cycle * 37) % 130), least));
        const open = await withSpool(directory, async (spool) => {
          expect(spool.lostRanges).toEqual([]);
          return spool.openAttempts();
        });
        expectNothingLost(
          told,
          rowsOf(directory),
          open.map(({ requestId }) => requestId),
        );
      }
      expect(told.ended.size).toBeGreaterThan(CYCLES);
      expect(told.published.size).toBeGreaterThan(CYCLES);
    }),
);
