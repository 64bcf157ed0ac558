import { openSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import { SystemClock, SystemRandom, UuidV7Generator, delay } from '#libs/kernel';

import { eventOf, idOf, intentOf, openSpool } from './spool-fixture.js';

/*
 * A process made to be killed: 8 clients open and end attempts, a relay marks events published. Each
 * promise that resolved is a line of `told.log`, which outlives the process. A third argument names
 * failpoints of the writer; events are then given up as soon as they are published.
 */

const [directory, ack, failpoints] = process.argv.slice(2) as [
  string,
  'process' | 'fsync',
  string | undefined,
];
const told = openSync(join(directory, 'told.log'), 'a');
const ids = new UuidV7Generator(new SystemClock(), new SystemRandom());
const armed =
  failpoints === undefined ? {} : { faults: { spec: failpoints, record: null }, keepAckedBytes: 1 };
const spool = await openSpool(directory, { ack, ...armed });

function say(...words: readonly (string | number | bigint)[]): void {
  writeSync(told, `${words.join(' ')}\n`);
}

async function client(lane: number): Promise<never> {
  for (let round = 0; ; round += 1) {
    const name = ids.next();
    say('opening', idOf(name));
    await spool.open(intentOf(name, lane % 3));
    say('opened', idOf(name));
    spool.progress(idOf(name), 1, round);
    if (round % 5 === 4) continue;
    await delay(round % 3);
    const event = eventOf(name, lane % 3);
    await spool.append(event);
    say('ended', idOf(name), event.eventId);
  }
}

async function relay(): Promise<never> {
  const { signal } = new AbortController();
  for (;;) {
    await spool.waitForEvents(signal);
    const batch = await spool.unpublished({ maxEvents: 20, maxBytes: 1_048_576 });
    for (const { lane, sequence, eventId } of batch) say('published', lane, sequence, eventId);
    await spool.markPublished(batch.at(-1)!.position);
  }
}

process.stdout.write('ready');
await Promise.all([...[0, 1, 2, 3, 4, 5, 6, 7].map(client), relay()]);
