// Guarantee: whatever happens between the log and its brokers, no record that an appender was told
// about is lost, and what is there twice is there twice byte for byte. The appenders of these tests do
// what every appender of ours does: they send the same batch again until it is acknowledged.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { productTopics } from '#libs/event-log/adapters';
import { until } from '#libs/event-log/contract';
import { TOPICS } from '#libs/events';
import type { TcpFault } from '#libs/testing';
import { KafkaHarness } from './kafka-harness.js';
import { checkLog, consumer, expectAllConsumed, startAppender } from './live-log.js';

const DAY_MS = 24 * 60 * 60 * 1_000;
/** Short, so that a broker that hangs costs a test a second and not fifteen. */
const IMPATIENT = { requestTimeoutMs: 1_000, sessionMs: 3_000, rebalanceMs: 5_000 };

describe('one broker', () => {
  let harness: KafkaHarness;
  beforeAll(async () => {
    harness = await KafkaHarness.start({ brokers: 1, isProxied: true });
  }, 240_000);
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
    await until('batches again', () => appender.counts.batches >= reached + 10, 30_000);
    const appended = await appender.stop();
    const { repeats } = await checkLog(writer, topic, 2, appended);
    await expectAllConsumed(harness, writer, topic, 2);
    await subscription.stop();
    return { repeats, failures: appender.counts.failures };
  }

  test('kill -9 of the broker under appends loses nothing', async () => {
    const [broker] = harness.kafka.brokers;
    const { failures } = await live(async (appender) => {
      for (let round = 0; round < 2; round += 1) {
        await broker!.kill();
        const before = appender.counts.failures;
        await until('a failure', () => appender.counts.failures > before);
        await broker!.start();
        const reached = appender.counts.batches;
        await until('batches', () => appender.counts.batches > reached + 5, 30_000);
      }
    });
    expect(failures).toBeGreaterThan(0);
  });

  test('replies lost after the append repeat batches and lose nothing', async () => {
    const { proxy } = harness.kafka.brokers[0]!;
    const { repeats } = await live(async (appender) => {
      const dropped = proxy!.droppedReplies;
      proxy!.set({ kind: 'drop_replies', share: 0.05 });
      await until(
        'lost replies',
        () => proxy!.droppedReplies > dropped + 20 && appender.counts.failures > 5,
        60_000,
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

describe('three brokers', () => {
  let harness: KafkaHarness;
  beforeAll(async () => {
    harness = await KafkaHarness.start({ brokers: 3 });
  }, 240_000);
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

  test('with one of three brokers dead, appends and consumers go on', async () => {
    const [writer, reader] = [await harness.open(IMPATIENT), await harness.open(IMPATIENT)];
    const topic = await harness.createTopic(6);
    const subscription = await reader.subscribe(consumer(harness, topic));
    const appender = startAppender(writer, topic, 6);
    await until('the first batches', () => appender.counts.batches >= 10, 30_000);
    for (const broker of harness.kafka.brokers) {
      await broker.kill();
      const reached = appender.counts.batches;
      await until('batches without it', () => appender.counts.batches >= reached + 20, 60_000);
      await broker.start();
      await until('batches with it', () => appender.counts.batches >= reached + 40, 60_000);
    }
    const appended = await appender.stop();
    await checkLog(writer, topic, 6, appended);
    await expectAllConsumed(harness, writer, topic, 6);
    await subscription.stop();
  });
});
