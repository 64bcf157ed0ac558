import { Agent, request, type IncomingMessage } from 'node:http';

import { delay, SystemClock } from '#libs/kernel';

import { quantile } from './statistics.js';

/** A load of streams: a fixed number at once, each followed by the next. */
export interface StreamLoad {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** Streams at once. */
  readonly streams: number;
  readonly seconds: number;
  /** How long one stream takes, milliseconds; the starts are spread over it. */
  readonly streamMs: number;
}

/** What came back; a stream that was begun is read to its end. */
export interface StreamResult {
  readonly streams: number;
  /** Events, the end mark included. */
  readonly frames: number;
  /** Streams that were not answered with 200 or broke off. */
  readonly errors: number;
  readonly seconds: number;
  /** From the upstream's write to our read, microseconds. */
  readonly p50Us: number;
  readonly p99Us: number;
}

interface Tally {
  streams: number;
  frames: number;
  errors: number;
  readonly delaysUs: number[];
}

const FRAME = 'data: ';
const STAMP = '"sent_at_us":';

/** Reads streams from this process until the time is over. */
export async function runStreams(load: StreamLoad): Promise<StreamResult> {
  const agent = new Agent({ keepAlive: true, maxSockets: load.streams });
  const clock = new SystemClock();
  const tally: Tally = { streams: 0, frames: 0, errors: 0, delaysUs: [] };
  const startedMs = clock.monotonicMs();
  const endMs = startedMs + load.seconds * 1_000;
  const reader = async (index: number): Promise<void> => {
    await delay((index * load.streamMs) / load.streams);
    while (clock.monotonicMs() < endMs) await readOne(load, agent, tally);
  };
  await Promise.all(Array.from({ length: load.streams }, (_, index) => reader(index)));
  agent.destroy();
  return {
    streams: tally.streams,
    frames: tally.frames,
    errors: tally.errors,
    seconds: (clock.monotonicMs() - startedMs) / 1_000,
    p50Us: Math.round(quantile(tally.delaysUs, 0.5)),
    p99Us: Math.round(quantile(tally.delaysUs, 0.99)),
  };
}

function readOne(load: StreamLoad, agent: Agent, tally: Tally): Promise<void> {
  return new Promise((resolve) => {
    const fail = (): void => {
      tally.errors += 1;
      resolve();
    };
    const sent = request(load.url, { method: 'POST', agent, headers: load.headers }, (response) => {
      if (response.statusCode !== 200) tally.errors += 1;
      count(response, tally);
      response.on('error', fail);
      response.on('end', () => {
        tally.streams += 1;
        resolve();
      });
    });
    sent.on('error', fail);
    sent.end(load.body);
  });
}

/** An event is written in one piece, but a proxy may cut it: what may be half a mark is kept. */
function count(response: IncomingMessage, tally: Tally): void {
  let rest = '';
  response.on('data', (chunk: Buffer) => {
    const text = rest + chunk.toString('latin1');
    for (let at = text.indexOf(FRAME); at >= 0; at = text.indexOf(FRAME, at + 1)) tally.frames += 1;
    rest = text.slice(1 - FRAME.length);
    const stamp = text.indexOf(STAMP);
    if (stamp < 0) return;
    const sentUs = Number.parseInt(text.slice(stamp + STAMP.length, stamp + STAMP.length + 17), 10);
    tally.delaysUs.push((performance.timeOrigin + performance.now()) * 1_000 - sentUs);
  });
}
