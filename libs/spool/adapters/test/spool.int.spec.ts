import { readFileSync, writeFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';

import { SystemClock } from '#libs/kernel';
import { eventually } from '#libs/testing';

import {
  eventOf,
  idOf,
  inDirectory,
  intentOf,
  looseEventOf,
  openSpool,
  withSpool,
} from './spool-fixture.js';

const ALL = { maxEvents: 500, maxBytes: 1_048_576 };

/** A round of housekeeping that begins now: one that the spool has begun itself is over before. */
async function tend(spool: unknown): Promise<void> {
  const housekeeper = spool as { readonly isTending: boolean; tend(): Promise<void> };
  await eventually(() => !housekeeper.isTending);
  await housekeeper.tend();
}

describe('a spool', () => {
  test('gives back what was appended, numbered from 1 without gaps per lane', () =>
    inDirectory((directory) =>
      withSpool(directory, async (spool) => {
        await Promise.all(['a', 'b', 'c'].map((name) => spool.append(looseEventOf(name, 3))));
        await spool.append(looseEventOf('d', 5));
        const events = await spool.unpublished(ALL);
        expect(events.map(({ lane, sequence, position }) => [lane, sequence, position])).toEqual([
          [3, 1n, 1],
          [3, 2n, 2],
          [3, 3n, 3],
          [5, 1n, 4],
        ]);
        const { eventId, headers, body } = looseEventOf('b', 3);
        expect(events[1]).toMatchObject({ eventId, headers });
        expect(Buffer.from(events[1]!.body).equals(body)).toBe(true);
      }),
    ));

  test('reads the same from the file as from memory, goes on with its numbers and keeps its name', () =>
    inDirectory(async (directory) => {
      const first = await withSpool(directory, async (spool) => {
        for (const name of ['a', 'b', 'c']) await spool.append(looseEventOf(name, 2));
        await spool.markPublished(1);
        return { emitterId: spool.emitterId, events: await spool.unpublished(ALL) };
      });
      await withSpool(directory, async (spool) => {
        expect(spool.emitterId).toBe(first.emitterId);
        expect(spool.emitterId).toMatch(/^[0-9a-f]{32}$/);
        const events = await spool.unpublished(ALL);
        expect(events.map((event) => ({ ...event, body: Buffer.from(event.body) }))).toEqual(
          first.events.map((event) => ({ ...event, body: Buffer.from(event.body) })),
        );
        await spool.append(looseEventOf('d', 2));
        expect((await spool.unpublished(ALL)).map(({ sequence }) => sequence)).toEqual([
          2n,
          3n,
          4n,
        ]);
      });
    }));

  test('keeps an attempt open over restarts until its event ends it', () =>
    inDirectory(async (directory) => {
      await withSpool(directory, async (spool) => {
        await Promise.all(['a', 'b', 'c'].map((name) => spool.open(intentOf(name))));
        await spool.append(eventOf('b'));
        spool.progress(idOf('c'), 1, 256);
        spool.progress(idOf('c'), 1, 512);
        expect(await spool.openAttempts()).toEqual([]);
      });
      await withSpool(directory, async (spool) => {
        const open = await spool.openAttempts();
        expect(open.map(({ requestId, progress }) => [requestId, progress])).toEqual([
          [idOf('a'), null],
          [idOf('c'), { tokensOut: 512 }],
        ]);
        const { lane, holdPicoUsd, body } = intentOf('a');
        expect(open[0]).toMatchObject({ attempt: 1, lane, holdPicoUsd });
        expect(Buffer.from(open[0]!.body).equals(body)).toBe(true);
        await spool.open(intentOf('d'));
        await spool.append(eventOf('a'));
        expect(await spool.openAttempts()).toHaveLength(1);
        await spool.append(eventOf('c'));
        expect(await spool.openAttempts()).toEqual([]);
      });
      await withSpool(directory, async (spool) => {
        expect((await spool.openAttempts()).map(({ requestId }) => requestId)).toEqual([idOf('d')]);
      });
    }));

  test('ends an attempt once, and opens it once', () =>
    inDirectory((directory) =>
      withSpool(directory, async (spool) => {
        await expect(spool.append(eventOf('a'))).rejects.toMatchObject({ code: 'spool.not_open' });
        await spool.open(intentOf('a'));
        await expect(spool.open(intentOf('a'))).rejects.toMatchObject({
          code: 'spool.already_open',
        });
        await spool.append(eventOf('a'));
        await expect(spool.append(eventOf('a'))).rejects.toMatchObject({ code: 'spool.not_open' });
        expect(await spool.unpublished(ALL)).toHaveLength(1);
      }),
    ));

  test('knows the events it holds, published or not', () =>
    inDirectory((directory) =>
      withSpool(directory, async (spool) => {
        for (const name of ['a', 'b']) await spool.append(looseEventOf(name));
        await spool.markPublished(1);
        const ids = ['a', 'b', 'c'].map((name) => idOf(`event ${name}`));
        expect(await spool.knownEvents(ids)).toEqual(new Set(ids.slice(0, 2)));
      }),
    ));

  test('refuses a second opener and goes on', () =>
    inDirectory((directory) =>
      withSpool(directory, async (spool) => {
        await spool.append(looseEventOf('a'));
        await expect(openSpool(directory)).rejects.toMatchObject({
          code: 'spool.in_use',
          kind: 'conflict',
        });
        await spool.append(looseEventOf('b'));
        expect(spool.health()).toBe('ok');
        expect(spool.depth().unpublishedEvents).toBe(2);
      }),
    ));

  test('refuses a body above 64 KiB, an amount that no column takes and an id that is none', () =>
    inDirectory((directory) =>
      withSpool(directory, async (spool) => {
        const body = Buffer.alloc(65_537);
        const tooLarge = { code: 'spool.record_too_large' };
        await expect(spool.open({ ...intentOf('a'), body })).rejects.toMatchObject(tooLarge);
        await expect(spool.append({ ...looseEventOf('a'), body })).rejects.toMatchObject(tooLarge);
        const holdPicoUsd = (2n ** 63n) as never;
        const outOfRange = { code: 'spool.hold_out_of_range' };
        await expect(spool.open({ ...intentOf('a'), holdPicoUsd })).rejects.toMatchObject(
          outOfRange,
        );
        await expect(spool.open({ ...intentOf('a'), requestId: 'x' })).rejects.toThrow('UUID');
        await spool.append({ ...looseEventOf('a'), body: body.subarray(1) });
        expect((await spool.unpublished(ALL))[0]!.body).toHaveLength(65_536);
      }),
    ));

  test('stores far more than one transaction takes, in order', () =>
    inDirectory((directory) =>
      withSpool(directory, async (spool) => {
        const names = Array.from({ length: 3_000 }, (_, index) => `n${index}`);
        await Promise.all(names.map((name) => spool.append(looseEventOf(name, 1))));
        const seen: string[] = [];
        while (spool.depth().unpublishedEvents > 0) {
          const batch = await spool.unpublished(ALL);
          seen.push(...batch.map(({ headers }) => headers['ce_subject']!));
          await spool.markPublished(batch.at(-1)!.position);
        }
        expect(seen).toEqual(names);
      }),
    ));

  test('refuses intents when unpublished events fill the cap, and still takes what ends attempts', () =>
    inDirectory((directory) =>
      withSpool(
        directory,
        async (spool) => {
          await spool.open(intentOf('a'));
          await spool.append({ ...looseEventOf('b'), body: Buffer.alloc(5_000) });
          expect(spool.health()).toBe('backlog_full');
          const refusal = { code: 'spool.unavailable', kind: 'unavailable' };
          await expect(spool.open(intentOf('c'))).rejects.toMatchObject(refusal);
          await spool.append(eventOf('a'));
          await spool.markPublished(2);
          expect(spool.health()).toBe('ok');
          await spool.open(intentOf('c'));
        },
        { capBytes: 4_000 },
      ),
    ));

  test('refuses intents beyond 10,000 waiting records; none of the refused is open later', () =>
    inDirectory(async (directory) => {
      const results = await withSpool(directory, (spool) =>
        Promise.allSettled(
          Array.from({ length: 10_050 }, (_, index) => spool.open(intentOf(`n${index}`))),
        ),
      );
      expect(results.filter(({ status }) => status === 'rejected')).toHaveLength(50);
      await withSpool(directory, async (spool) => {
        expect(await spool.openAttempts()).toHaveLength(10_000);
      });
    }));

  test('fails everything and says so when its writer dies', () =>
    inDirectory(async (directory) => {
      let fatal: unknown = null;
      const spool = await openSpool(directory, { onFatal: (error) => (fatal = error) });
      await spool.open(intentOf('a'));
      const lost = spool.append(eventOf('a'));
      const { writer } = spool as unknown as { writer: { kill(): Promise<void> } };
      await Promise.all([writer.kill(), lost.catch(() => undefined)]);
      expect(fatal).toMatchObject({ code: 'spool.unavailable' });
      expect(spool.health()).toBe('failed');
      await expect(spool.open(intentOf('b'))).rejects.toMatchObject({ code: 'spool.unavailable' });
      await expect(spool.append(looseEventOf('b'))).rejects.toMatchObject({
        code: 'spool.unavailable',
      });
      await spool.close();
    }));
});

describe('the file of a spool', () => {
  test('takes neither changes of an event nor deletions above the trim floor', () =>
    inDirectory(async (directory) => {
      await withSpool(directory, (spool) => spool.append(looseEventOf('a')));
      const db = new DatabaseSync(join(directory, 'spool.db'));
      expect(() => db.exec('UPDATE spool SET lane = 9')).toThrow('spool is append-only');
      expect(() => db.exec('DELETE FROM spool')).toThrow('row not trimmable');
      expect(() =>
        db.exec('INSERT INTO spool SELECT 2, lane, seq, 0, event_id, 0, body, 0 FROM spool'),
      ).toThrow('UNIQUE');
      db.close();
    }));

  test('gives published events up after their time, and no number is used again', () =>
    inDirectory(async (directory) => {
      let nowMs = 1_000_000_000_000;
      const machine = new SystemClock();
      const clock = { nowMs: () => nowMs, monotonicMs: () => machine.monotonicMs() };
      await withSpool(
        directory,
        async (spool) => {
          for (let index = 0; index < 5; index += 1)
            await spool.append(looseEventOf(`n${index}`, 2));
          await spool.markPublished(5);
          await tend(spool);
          nowMs += 3_599_999;
          await tend(spool);
          expect(await spool.knownEvents([idOf('event n4')])).toHaveProperty('size', 1);
          expect(await spool.keptSince()).toBe(0);
          nowMs += 1;
          await tend(spool);
          expect(await spool.knownEvents([idOf('event n4')])).toHaveProperty('size', 0);
          expect(await spool.keptSince()).toBe(1_000_000_000_000);
        },
        { clock, keepAckedMs: 3_600_000 },
      );
      await withSpool(directory, async (spool) => {
        await spool.append(looseEventOf('later', 2));
        const [event] = await spool.unpublished(ALL);
        expect([event?.position, event?.sequence]).toEqual([6, 6n]);
        expect(await spool.keptSince()).toBe(1_000_000_000_000);
      });
    }));

  test('is tended a minute after everything published was given up', () =>
    inDirectory(async (directory) => {
      const said: unknown[] = [];
      const say = (facts: object, message: string): void => void said.push([message, facts]);
      let nowMs = 1_000_000_000_000;
      const machine = new SystemClock();
      const clock = { nowMs: () => nowMs, monotonicMs: () => machine.monotonicMs() };
      await withSpool(
        directory,
        async (spool) => {
          for (const [index, name] of ['a', 'b'].entries()) {
            await spool.append(looseEventOf(name));
            await spool.markPublished(index + 1);
            await tend(spool);
          }
          const keptSinceMs = await spool.keptSince();
          nowMs += 60_000;
          await tend(spool);
          expect(said).toEqual([]);
          expect(await spool.keptSince()).toBe(keptSinceMs);
        },
        { clock, keepAckedBytes: 1, logger: { warn: say, error: say } },
      );
    }));

  test('ends an attempt for good whose block was written behind rows that a salvage lost', () =>
    inDirectory(async (directory) => {
      await withSpool(directory, async (spool) => {
        await spool.append(looseEventOf('sound'));
        await spool.append({ ...looseEventOf('lost'), body: Buffer.from('z'.repeat(600)) });
        await spool.open(intentOf('late'));
      });
      const path = join(directory, 'spool.db');
      const bytes = readFileSync(path);
      const at = bytes.indexOf('z'.repeat(100));
      bytes[at] = bytes[at]! ^ 4;
      writeFileSync(path, bytes);
      await withSpool(directory, async (spool) => {
        expect(spool.lostRanges).toEqual([{ lane: 0, from: 2n, to: 2n }]);
        expect(await spool.openAttempts()).toHaveLength(1);
        await spool.append(eventOf('late'));
      });
      await withSpool(directory, async (spool) => {
        expect(await spool.openAttempts()).toEqual([]);
      });
    }));

  test('keeps published events that still prove an attempt ended', () =>
    inDirectory(async (directory) => {
      await withSpool(
        directory,
        async (spool) => {
          await Promise.all([spool.open(intentOf('long')), spool.open(intentOf('short'))]);
          await spool.append(eventOf('short'));
          await spool.markPublished(1);
          await tend(spool);
          expect(await spool.knownEvents([idOf('event short')])).toHaveProperty('size', 1);
        },
        { keepAckedBytes: 1 },
      );
      await withSpool(
        directory,
        async (spool) => {
          expect((await spool.openAttempts()).map(({ requestId }) => requestId)).toEqual([
            idOf('long'),
          ]);
          await spool.append(eventOf('long'));
          await spool.markPublished(2);
          await tend(spool);
          expect(await spool.knownEvents([idOf('event short')])).toHaveProperty('size', 0);
        },
        { keepAckedBytes: 1 },
      );
    }));
});
