/* The process is killed by its own writer: before a commit, a checkpoint, the end of a trim. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { expect, test } from '@jest/globals';

import { inDirectory, withSpool } from './spool-fixture.js';

interface Told {
  readonly opening: Set<string>;
  /** Event id by request id. */
  readonly ended: Map<string, string>;
  /** Event id by `lane/sequence`. */
  readonly published: Map<string, string>;
}

async function runUntilKilled(directory: string, failpoints: string): Promise<string[]> {
  const script = fileURLToPath(new URL('./crash-load.js', import.meta.url));
  const child = spawn(process.execPath, [script, directory, 'fsync', failpoints], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const [code, signal] = await once(child, 'close');
  expect([code, signal]).toEqual([null, 'SIGKILL']);
  const log = join(directory, 'told.log');
  const lines = readFileSync(log, 'utf8').split('\n').slice(0, -1);
  rmSync(log);
  return lines;
}

function takeIn(told: Told, lines: readonly string[]): void {
  for (const line of lines) {
    const [what, first, second, third] = line.split(' ') as [string, string, string, string];
    if (what === 'opening') told.opening.add(first);
    if (what === 'ended') told.ended.set(first, second);
    if (what === 'published') note(told.published, `${first}/${second}`, third);
  }
}

/** A sequence never names two events. */
function note(bySequence: Map<string, string>, key: string, eventId: string): void {
  expect(bySequence.get(key) ?? eventId).toBe(eventId);
  bySequence.set(key, eventId);
}

test.each([
  ['spool.commit=kill9@40'],
  ['spool.checkpoint=kill9'],
  ['spool.checkpoint=kill9@2'],
  ['spool.trim=kill9'],
])(
  'killed at %s, nothing confirmed is lost, no attempt stands twice, no number is used twice',
  (failpoints) =>
    inDirectory(async (directory) => {
      const told: Told = { opening: new Set(), ended: new Map(), published: new Map() };
      for (let cycle = 0; cycle < 3 || told.ended.size <= 10; cycle += 1) {
        takeIn(told, await runUntilKilled(directory, failpoints));
        const known = new Map(told.published);
        const open = await withSpool(directory, async (spool) => {
          expect(spool.lostRanges).toEqual([]);
          for (;;) {
            const batch = await spool.unpublished({ maxEvents: 500, maxBytes: 1_048_576 });
            if (batch.length === 0) break;
            for (const { lane, sequence, eventId } of batch) {
              note(known, `${lane}/${sequence}`, eventId);
              note(told.published, `${lane}/${sequence}`, eventId);
            }
            await spool.markPublished(batch.at(-1)!.position);
          }
          return spool.openAttempts();
        });
        const events = new Set(known.values());
        expect(events.size).toBe(known.size);
        for (const eventId of told.ended.values()) expect(events).toContain(eventId);
        for (const { requestId } of open) {
          expect(told.opening).toContain(requestId);
          expect(told.ended.has(requestId)).toBe(false);
        }
        const lanes = Map.groupBy(known.keys(), (key) => key.split('/')[0]);
        for (const [, keys] of lanes) {
          const last = Math.max(...keys.map((key) => Number(key.split('/')[1])));
          expect(keys).toHaveLength(last);
        }
      }
    }),
);
