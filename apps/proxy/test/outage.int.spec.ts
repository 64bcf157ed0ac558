/*
 * The event log goes away under load and comes back. On Kafka the broker is killed and 200 events a
 * second go on being appended to a real spool with its real relay; on PostgreSQL a proxy process goes on
 * serving requests. An hour at 200 requests a second is 720,000 events; here it is 20 seconds of it.
 */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect, test } from '@jest/globals';

import { KafkaEventLog, productTopics } from '#libs/event-log/adapters';
import { REQUEST_COMPLETED_V1, TOPICS } from '#libs/events';
import { delay, formatUuid, SystemClock, SystemRandom } from '#libs/kernel';
import { SqliteSpool } from '#libs/spool/adapters';
import { SpoolRelay, type SpoolEvent } from '#libs/spool/core';
import { eventually, startTestKafka, TcpFaultProxy } from '#libs/testing';

import { LogEventPublisher } from '../src/relay/log-event.publisher.js';
import { loggedEvents, ProxyWorld } from './proxy-process.js';

const RATE = 200;
const OUTAGE_MS = 20_000;
const BODY_BYTES = 800;
const PARTITIONS = 3;
/** Events of one batch of the relay at most. */
const MOST_OF_BATCH = 500;

const clock = new SystemClock();
const random = new SystemRandom();

function eventOf(nth: number): SpoolEvent {
  const id = Buffer.alloc(16);
  id.writeUInt32BE(nth, 12);
  return {
    lane: nth % PARTITIONS,
    eventId: formatUuid(id),
    body: Buffer.from(JSON.stringify({ nth, padding: 'x'.repeat(BODY_BYTES) })),
    headers: {
      ce_type: REQUEST_COMPLETED_V1,
      ce_time: '2026-01-01T00:00:00.000Z',
      ce_subject: '00000001-0000-4000-8000-000000000001',
    },
    closes: null,
  };
}

/** Appends at a steady rate until stopped; a slow machine catches up with what it has missed. */
class Load {
  appended = 0;
  stored = 0;
  failed = 0;
  private readonly stopped = new AbortController();
  private readonly running: Promise<void>;

  constructor(private readonly spool: SqliteSpool) {
    this.running = this.run();
  }

  async stop(): Promise<void> {
    this.stopped.abort();
    await this.running;
  }

  private async run(): Promise<void> {
    const startMs = clock.monotonicMs();
    const pending: Promise<void>[] = [];
    while (!this.stopped.signal.aborted) {
      const due = Math.floor(((clock.monotonicMs() - startMs) * RATE) / 1_000);
      for (; this.appended < due; this.appended += 1) {
        pending.push(
          this.spool.append(eventOf(this.appended)).then(
            () => void (this.stored += 1),
            () => void (this.failed += 1),
          ),
        );
      }
      await delay(5, this.stopped.signal);
    }
    await Promise.all(pending);
  }
}

test('Kafka away: appends go on, the spool grows as computed, and drains at twice the arrival at least', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'outage-'));
  const kafka = await startTestKafka({ brokers: 1, isOwn: true });
  const topics = productTopics(PARTITIONS);
  const address = { brokers: kafka.addresses, clientId: 'outage' };
  const log = new KafkaEventLog({ ...address, clock, random, topics });
  const spool = await SqliteSpool.open({ directory, ack: 'fsync', clock, random });
  const failures: number[] = [];
  const relay = new SpoolRelay({
    spool,
    publisher: new LogEventPublisher(log, PARTITIONS),
    clock,
    random,
    onError: () => failures.push(clock.monotonicMs()),
  });
  const load = new Load(spool);
  const published = (): number => load.stored - spool.depth().unpublishedEvents;
  try {
    relay.start();
    await eventually(() => load.appended > RATE && spool.depth().unpublishedEvents < RATE, {
      deadlineMs: 60_000,
    });

    const broker = kafka.brokers[0]!;
    await broker.kill();
    const downAtMs = clock.monotonicMs();
    failures.length = 0;
    const before = { published: published(), appended: load.appended };
    await delay(OUTAGE_MS);
    const during = spool.depth();
    const arrived = load.appended - before.appended;
    const bytesPerEvent = during.unpublishedBytes / during.unpublishedEvents;
    expect(load.failed).toBe(0);
    expect(arrived).toBeGreaterThan((RATE * OUTAGE_MS) / 1_000 / 2);
    // Nothing leaves the spool but the batch that was acknowledged as the broker died.
    expect(published() - before.published).toBeLessThanOrEqual(MOST_OF_BATCH);
    // Body, headers (about 150 bytes) and what a row adds.
    expect(bytesPerEvent).toBeGreaterThan(BODY_BYTES);
    expect(bytesPerEvent).toBeLessThan(BODY_BYTES + 400);
    expect(statSync(join(directory, 'spool.db')).size).toBeLessThan(
      3 * during.unpublishedBytes + 32 * 1_048_576,
    );
    expect(failures.length).toBeGreaterThan(1);
    const pauses = failures.slice(1).map((atMs, index) => atMs - failures[index]!);
    // A pause of at most 10 s, and the attempt behind it.
    expect(Math.max(...pauses)).toBeLessThan(30_000);

    await broker.start();
    const upAtMs = clock.monotonicMs();
    const waiting = spool.depth().unpublishedEvents;
    await eventually(() => spool.depth().unpublishedEvents < waiting, { deadlineMs: 60_000 });
    const drainAtMs = clock.monotonicMs();
    const [appendedAtDrain, waitingAtDrain] = [load.appended, spool.depth().unpublishedEvents];
    await eventually(() => spool.depth().unpublishedEvents < RATE / 2, { deadlineMs: 60_000 });
    const drainMs = clock.monotonicMs() - drainAtMs;
    const drained = waitingAtDrain + (load.appended - appendedAtDrain);
    const drainRate = (drained * 1_000) / Math.max(drainMs, 1);
    process.stdout.write(
      `outage ${Math.round(upAtMs - downAtMs)} ms, ${waiting} events waited; drain began after ` +
        `${Math.round(drainAtMs - upAtMs)} ms, ${Math.round(drainRate)} events/s while ${RATE}/s arrived\n`,
    );
    // A pause of at most 10 s, and what a busy machine adds until the broker leads its partitions.
    expect(drainAtMs - upAtMs).toBeLessThan(60_000);
    expect(drainRate).toBeGreaterThanOrEqual(2 * RATE);

    await load.stop();
    await relay.stop(60_000);
    expect(spool.depth().unpublishedEvents).toBe(0);
    expect(load.failed).toBe(0);
    await expectEverySequence(log, load.appended);
  } finally {
    await load.stop();
    await relay.stop(0);
    await spool.close();
    await log.close();
    await kafka.stop();
    rmSync(directory, { recursive: true, force: true });
  }
});

/** Every event is in the log; what is there twice has the same sequence. */
async function expectEverySequence(log: KafkaEventLog, appended: number): Promise<void> {
  const events = await loggedEvents(log, TOPICS.requestCompleted);
  const ids = new Map<string, string>();
  for (const { headers } of events) {
    const key = `${headers['ce_lane']}/${headers['ce_sequence']}`;
    expect(ids.get(key) ?? headers['ce_id']).toBe(headers['ce_id']);
    ids.set(key, headers['ce_id']!);
  }
  expect(ids.size).toBe(appended);
  expect(new Set(ids.values()).size).toBe(appended);
}

test('PostgreSQL away: requests go on, and their records follow when it is back', async () => {
  const world = await ProxyWorld.start();
  const url = new URL(world.databaseUrl);
  const between = await TcpFaultProxy.open({ targetPort: Number(url.port) });
  try {
    url.hostname = '127.0.0.1';
    url.port = String(between.port);
    const proxy = await world.startProxy({ variables: { DATABASE_URL: url.href } });
    expect((await proxy.chat('sk-plain-key')).status).toBe(200);
    between.set({ kind: 'refuse' });
    between.reset();
    const wireIds: string[] = [];
    const endMs = clock.monotonicMs() + 5_000;
    while (clock.monotonicMs() < endMs || wireIds.length <= 10) {
      const response = await proxy.chat('sk-budgeted-key');
      expect(response.status).toBe(200);
      wireIds.push(response.headers.get('x-request-id')!.slice(4));
    }
    await eventually(async () => (await proxy.ready()).body.includes('"spool":"ok"'));
    between.set({ kind: 'none' });
    await eventually(
      async () => {
        const events = await world.logged(TOPICS.requestCompleted);
        const found = new Set(events.map(({ data }) => data.request_id.replaceAll('-', '')));
        return wireIds.every((wireId) => found.has(wireId));
      },
      { deadlineMs: 60_000 },
    );
  } finally {
    await world.stop();
    await between.close();
  }
});
