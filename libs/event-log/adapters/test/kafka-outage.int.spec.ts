// Guarantee: whatever happens between the log and its brokers, no record that an appender was told
// about is lost, and what is there twice is there twice byte for byte. The appenders of these tests do
// what every appender of ours does: they send the same batch again until it is acknowledged.
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { Kafka, logLevel } from 'kafkajs';
import { productTopics } from '#libs/event-log/adapters';
import { record, until } from '#libs/event-log/contract';
import type { LogRecordInput } from '#libs/event-log/core';
import { TOPICS } from '#libs/events';
import { ClusterDisk, eventually, type TcpFault, type TcpFaultProxy } from '#libs/testing';
import { KafkaHarness } from './kafka-harness.js';
import { checkLog, consumer, expectAllConsumed, readAll, startAppender } from './live-log.js';

const DAY_MS = 24 * 60 * 60 * 1_000;
/** Short, so that a broker that hangs costs a test a second and not fifteen. */
const IMPATIENT = { requestTimeoutMs: 1_000, sessionMs: 3_000, rebalanceMs: 5_000 };

/** How long the appender of a request that is held waits for its answer, milliseconds. */
const HELD_REQUEST_MS = 3_000;
/** The protocol's number of a request to append. */
const PRODUCE = 0;
const LOST_SHARE = 0.05;
const TRAP_ATTEMPTS = 10;

/** Records as an emitter numbers them on one lane. */
function sequenced(topic: string, from: number, count: number): LogRecordInput[] {
  return Array.from({ length: count }, (_, nth) => {
    const seq = String(from + nth);
    return { ...record(topic, 0, seq), headers: { emitter: 'e', lane: '0', seq } };
  });
}

/** What every reader of ours does: of an emitter's lane it takes what is above the last one. */
function dropRepeats(sequence: readonly number[]): readonly number[] {
  let high = -1;
  return sequence.filter((seq) => {
    if (seq <= high) return false;
    high = seq;
    return true;
  });
}

/** Sends by an idempotent producer of the other client, 20 at once. @returns the acknowledged keys */
async function sendTogether(harness: KafkaHarness, topic: string, proxy: TcpFaultProxy) {
  const producer = new Kafka({
    brokers: [...harness.kafka.addresses],
    clientId: 'trap',
    logLevel: logLevel.NOTHING,
    requestTimeout: 2_000,
    // The client lets go of a broken connection once for each request on it, and listens each time.
    socketFactory: ({ host, port, onConnect }) => connect(port, host, onConnect).setMaxListeners(0),
  }).producer({
    idempotent: true,
    createPartitioner: () => () => 0,
    retry: { retries: 20, initialRetryTime: 20, maxRetryTime: 200 },
  });
  const acknowledged = new Set<string>();
  const send = async (key: string): Promise<void> => {
    await producer.send({ topic, acks: -1, messages: [{ key, value: key }] });
    acknowledged.add(key);
  };
  await producer.connect();
  await send('first');
  proxy.set({ kind: 'drop_replies', share: LOST_SHARE });
  for (let round = 0; round < 20; round += 1) {
    const calls = Array.from({ length: 20 }, (_, nth) => send(`${round}-${nth}`));
    await Promise.allSettled(calls);
  }
  proxy.set({ kind: 'none' });
  await producer.disconnect();
  return acknowledged;
}

describe('one broker', () => {
  let harness: KafkaHarness;
  beforeAll(async () => {
    harness = await KafkaHarness.start({ brokers: 1, isProxied: true });
  }, 240_000);
  afterEach(() => harness.closeLogs());
  afterAll(() => harness.stop());

  /** Appends and consumes while something goes wrong for a while. */
  async function live(goWrong: (appender: ReturnType<typeof startAppender>) => Promise<void>) {
    const [writer, reader] = [await harness.open(IMPATIENT), await harness.open(IMPATIENT)];
    const topic = await harness.createTopic(2);
    const subscription = await reader.subscribe(consumer(harness, topic));
    const appender = startAppender(writer, topic, 2);
    await until('the first batches', () => appender.counts.batches >= 10);
    await goWrong(appender);
    const reached = appender.counts.batches;
    await until('batches again', () => appender.counts.batches >= reached + 10);
    const appended = await appender.stop();
    const { repeats } = await checkLog(writer, topic, 2, appended);
    await expectAllConsumed(harness, writer, topic, 2);
    await subscription.stop();
    return { repeats, failures: appender.counts.failures };
  }

  test('kill -9 and a new start of the broker under appends (C1) lose nothing', async () => {
    const [broker] = harness.kafka.brokers;
    const { failures } = await live(async (appender) => {
      await broker!.kill();
      const before = appender.counts.failures;
      await until('a failure', () => appender.counts.failures > before);
      await broker!.start();
    });
    expect(failures).toBeGreaterThan(0);
  });

  test('5 % of the replies lost under load (C3) repeat batches and lose nothing', async () => {
    const { proxy } = harness.kafka.brokers[0]!;
    const { repeats } = await live(async (appender) => {
      const dropped = proxy!.droppedReplies;
      proxy!.set({ kind: 'drop_replies', share: 0.05 });
      await until(
        'lost replies',
        () => proxy!.droppedReplies > dropped + 20 && appender.counts.failures > 5,
        120_000,
      );
      proxy!.set({ kind: 'none' });
    });
    expect(repeats).toBeGreaterThan(0);
  });

  test.each<TcpFault>([{ kind: 'refuse' }, { kind: 'hang' }, { kind: 'cut', afterBytes: 2_000 }])(
    'a network that fails ($kind) costs time and nothing else',
    async (fault) => {
      const { proxy } = harness.kafka.brokers[0]!;
      await live(async (appender) => {
        const before = appender.counts.failures;
        proxy!.set(fault);
        await until('failures', () => appender.counts.failures > before + 1);
        proxy!.set({ kind: 'none' });
      });
      expect(harness.kafka.brokers).toHaveLength(1);
    },
  );

  test('a request that arrives after newer ones (C8) is a duplicate that readers drop', async () => {
    const { proxy } = harness.kafka.brokers[0]!;
    const log = await harness.open();
    // Only the request that is held may run out of time.
    const impatient = await harness.open({ requestTimeoutMs: HELD_REQUEST_MS });
    const topic = await harness.createTopic(1);
    const send = (batch: number, by = log) => by.append(sequenced(topic, 10 * batch, 10));
    await send(0);
    expect(await impatient.bounds(topic, 0)).toEqual({ earliest: 0n, next: 10n });
    proxy!.set({ kind: 'hold', isMeant: (bytes) => bytes.readInt16BE(4) === PRODUCE });
    await expect(send(1, impatient)).rejects.toMatchObject({ code: 'event_log.unavailable' });
    expect(proxy!.heldBytes).toBeGreaterThan(0);
    for (const batch of [1, 2, 3]) await send(batch);
    proxy!.release();
    await until('the late batch', async () => (await log.bounds(topic, 0)).next === 50n);
    const found = (await readAll(log, topic, 0)).map(({ headers }) => Number(headers['seq']));
    const numbers = (from: number, count: number) =>
      Array.from({ length: count }, (_, n) => from + n);
    expect(found).toEqual([...numbers(0, 40), ...numbers(10, 10)]);
    expect(dropRepeats(found)).toEqual(numbers(0, 40));
  });

  test('20 idempotent sends at once lose what they acknowledged; one batch in flight does not', async () => {
    // Why nothing here uses the idempotence of a client: after a lost reply another send takes the
    // sequence number of the failed one, and the broker takes its records for a repeat.
    const { proxy } = harness.kafka.brokers[0]!;
    let harm = 0;
    for (let attempt = 0; attempt < TRAP_ATTEMPTS && harm === 0; attempt += 1) {
      const topic = await harness.createTopic(1);
      const acknowledged = await sendTogether(harness, topic, proxy!);
      const found = (await readAll(await harness.open(), topic, 0)).map(({ key }) => key);
      const missing = [...acknowledged].filter((key) => !found.includes(key)).length;
      harm = missing + found.length - new Set(found).size;
    }
    expect(harm).toBeGreaterThan(0);

    const log = await harness.open(IMPATIENT);
    const topic = await harness.createTopic(1);
    await log.append(sequenced(topic, 0, 10));
    proxy!.set({ kind: 'drop_replies', share: LOST_SHARE });
    for (let from = 10; from < 600; from += 10) {
      await eventually(() => log.append(sequenced(topic, from, 10)), { deadlineMs: 30_000 });
    }
    proxy!.set({ kind: 'none' });
    const found = (await readAll(log, topic, 0)).map(({ headers }) => Number(headers['seq']));
    expect(dropRepeats(found)).toEqual(Array.from({ length: 600 }, (_, number) => number));
  });

  test('a broker that stands still and goes on is used again', async () => {
    const [broker] = harness.kafka.brokers;
    const { failures } = await live(async (appender) => {
      broker!.pause();
      const before = appender.counts.failures;
      await until('a failure', () => appender.counts.failures > before);
      broker!.resume();
    });
    expect(failures).toBeGreaterThan(0);
  });
});

describe('a broker with a small disk', () => {
  test('a full disk (C4) costs time and nothing else', async () => {
    if (process.getuid?.() !== 0) throw new Error('a disk that can be filled is mounted by root');
    const directory = mkdtempSync(join(tmpdir(), 'tollgate-small-disk-'));
    const disk = ClusterDisk.open(directory, 96);
    const harness = await KafkaHarness.start({ brokers: 1, isOwn: true, dataDirectory: directory });
    try {
      const log = await harness.open(IMPATIENT);
      const topic = await harness.createTopic(2);
      const appender = startAppender(log, topic, 2);
      await until('the first batches', () => appender.counts.batches >= 10);
      disk.fill();
      const before = appender.counts.failures;
      await until('failures', () => appender.counts.failures > before + 1);
      disk.empty();
      // The broker has given up by itself, or will have when it sees the rest of its disk.
      await harness.kafka.brokers[0]!.kill();
      await harness.kafka.brokers[0]!.start();
      const reached = appender.counts.batches;
      await until('batches again', () => appender.counts.batches >= reached + 10);
      await checkLog(log, topic, 2, await appender.stop());
    } finally {
      await harness.stop();
      disk.close();
      rmSync(directory, { recursive: true, force: true });
    }
  });
});

describe('three brokers', () => {
  let harness: KafkaHarness;
  beforeAll(async () => {
    harness = await KafkaHarness.start({ brokers: 3 });
  }, 240_000);
  afterEach(() => harness.closeLogs());
  afterAll(() => harness.stop());

  test('every topic of the product is made as its records need it', async () => {
    await harness.provision(productTopics(4));
    const days = { 'usage.rated': 30, 'emitter.resend': 7, control: null, prices: null };
    const single = new Set<string>([TOPICS.control, TOPICS.prices, TOPICS.emitterResend]);
    for (const topic of Object.values(TOPICS)) {
      const keptDays = topic in days ? days[topic as keyof typeof days] : 7;
      expect([topic, await harness.settingsOf(topic)]).toMatchObject([
        topic,
        {
          partitions: single.has(topic) ? '1' : '4',
          'cleanup.policy': 'delete',
          'message.timestamp.type': 'LogAppendTime',
          'retention.ms': keptDays === null ? '-1' : String(keptDays * DAY_MS),
          replicas: '3',
          'min.insync.replicas': '2',
          'unclean.leader.election.enable': 'false',
          'retention.bytes': '-1',
          'max.message.bytes': String(17 * 1024 * 1024),
        },
      ]);
    }
  });

  test('the leader of partitions is killed: appends and consumers go on with two brokers of three', async () => {
    const [writer, reader] = [await harness.open(IMPATIENT), await harness.open(IMPATIENT)];
    const topic = await harness.createTopic(6);
    const subscription = await reader.subscribe(consumer(harness, topic));
    const appender = startAppender(writer, topic, 6);
    await until('the first batches', () => appender.counts.batches >= 10);
    // Every broker leads two of the six partitions.
    const [broker] = harness.kafka.brokers;
    await broker!.kill();
    const reached = appender.counts.batches;
    await until('batches without it', () => appender.counts.batches >= reached + 20);
    const consumed = (await harness.store.consumed(topic)).length;
    await until('records without it', async () => {
      return (await harness.store.consumed(topic)).length > consumed + 6 * 20;
    });
    await broker!.start();
    const appended = await appender.stop();
    await checkLog(writer, topic, 6, appended);
    await expectAllConsumed(harness, writer, topic, 6);
    await subscription.stop();
  });
});
