import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

import { describe, expect, test } from '@jest/globals';

import { SystemClock, SystemRandom, delay } from '#libs/kernel';
import { EventPublisher, SpoolRelay, type Spool, type SpooledEvent } from '#libs/spool/core';
import { eventually } from '#libs/testing';

import { SpoolReader } from '../src/sqlite/spool-reader.js';
import { inDirectory, looseEventOf, openSpool, withSpool } from './spool-fixture.js';

/** Keeps what it is given; fails as often as it is told, before or after keeping it. */
class RecordingPublisher extends EventPublisher {
  readonly batches: string[][] = [];
  failuresBefore = 0;
  failuresAfter = 0;
  inFlight = 0;

  async publish(events: readonly SpooledEvent[]): Promise<void> {
    this.inFlight += 1;
    if (this.inFlight > 1) throw new Error('two batches in flight');
    await delay(1);
    this.inFlight -= 1;
    if (this.failuresBefore-- > 0) throw new Error('no answer');
    this.batches.push(events.map(({ headers }) => headers['ce_subject']!));
    if (this.failuresAfter-- > 0) throw new Error('the answer is lost');
  }
}

function relayOf(spool: Spool, publisher: EventPublisher, errors: unknown[] = []): SpoolRelay {
  const random = new SystemRandom();
  const clock = new SystemClock();
  const onError = (error: unknown): unknown => errors.push(error);
  return new SpoolRelay({ spool, publisher, clock, random, lingerMs: 1, onError });
}

const NAMES = Array.from({ length: 1_200 }, (_, index) => `n${index}`);

async function untilIdle(relay: SpoolRelay): Promise<void> {
  await eventually(() => relay.idle(), { deadlineMs: 60_000 });
}

describe('the relay', () => {
  test('publishes everything once and in order, at most 500 events at a time', () =>
    inDirectory((directory) =>
      withSpool(directory, async (spool) => {
        const publisher = new RecordingPublisher();
        const relay = relayOf(spool, publisher);
        relay.start();
        await Promise.all(NAMES.map((name) => spool.append(looseEventOf(name))));
        await untilIdle(relay);
        expect(publisher.batches.flat()).toEqual(NAMES);
        expect(Math.max(...publisher.batches.map((batch) => batch.length))).toBeLessThanOrEqual(
          500,
        );
        await spool.append(looseEventOf('later'));
        await untilIdle(relay);
        expect(publisher.batches.at(-1)).toEqual(['later']);
        await relay.stop(1_000);
      }),
    ));

  test('publishes the very same events again after an error, and nothing overtakes', () =>
    inDirectory((directory) =>
      withSpool(directory, async (spool) => {
        const publisher = new RecordingPublisher();
        publisher.failuresBefore = 1;
        publisher.failuresAfter = 2;
        const errors: unknown[] = [];
        for (const name of ['a', 'b']) await spool.append(looseEventOf(name));
        const relay = relayOf(spool, publisher, errors);
        relay.start();
        await spool.append(looseEventOf('c'));
        await untilIdle(relay);
        expect(errors).toHaveLength(3);
        expect(publisher.batches[0]).toEqual(publisher.batches[1]);
        const distinct = [...new Set(publisher.batches.flat())];
        expect(distinct).toEqual(['a', 'b', 'c']);
        await relay.stop(0);
      }),
    ));

  test('goes on where a process without a mark stopped, and skips nothing', () =>
    inDirectory(async (directory) => {
      const first = await openSpool(directory);
      for (const name of ['a', 'b', 'c', 'd']) await first.append(looseEventOf(name));
      await first.markPublished(2);
      const { writer } = first as unknown as { writer: { kill(): Promise<void> } };
      await writer.kill();
      await withSpool(directory, async (spool) => {
        const publisher = new RecordingPublisher();
        const relay = relayOf(spool, publisher);
        relay.start();
        await untilIdle(relay);
        expect(publisher.batches.flat().slice(-2)).toEqual(['c', 'd']);
        await relay.stop(0);
      });
    }));

  test('stops after publishing what is there, or when its time is over', () =>
    inDirectory((directory) =>
      withSpool(directory, async (spool) => {
        const publisher = new RecordingPublisher();
        const patient = relayOf(spool, publisher);
        await Promise.all(NAMES.map((name) => spool.append(looseEventOf(name))));
        patient.start();
        await patient.stop(60_000);
        expect(publisher.batches.flat()).toEqual(NAMES);

        publisher.failuresBefore = Infinity;
        const hurried = relayOf(spool, publisher);
        await spool.append(looseEventOf('late'));
        hurried.start();
        await hurried.stop(20);
        expect(spool.depth().unpublishedEvents).toBe(1);
        expect(hurried.idle()).toBe(false);
      }),
    ));
});

test('a damaged event ends the read before it, and nothing behind it is read', () =>
  inDirectory(async (directory) => {
    await withSpool(directory, async (spool) => {
      for (const name of ['a', 'b', 'c']) await spool.append(looseEventOf(name));
    });
    const db = new DatabaseSync(join(directory, 'spool.db'));
    db.exec('DROP TRIGGER spool_no_update; UPDATE spool SET body = zeroblob(40) WHERE pos = 2');
    const reader = new SpoolReader(db);
    expect(reader.read(0, 500, 1_048_576).map(({ position }) => position)).toEqual([1]);
    expect(() => reader.read(1, 500, 1_048_576)).toThrow('fails its checksum');
    db.close();
  }));
