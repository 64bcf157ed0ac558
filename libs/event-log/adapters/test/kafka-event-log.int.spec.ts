import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { describeEventLog, gate, records, until } from '#libs/event-log/contract';
import {
  EphemeralPartitionOwner,
  type LogBatch,
  type LogSubscription,
  type SubscribeOptions,
} from '#libs/event-log/core';
import { delay, SystemClock, SystemRandom } from '#libs/kernel';
import { createRuntime } from '#libs/platform/telemetry';
import { FixedClock } from '#libs/testing';
import { EventLogServer } from '../src/nest/event-log.server.js';
import { RetentionWatch } from '../src/nest/retention-watch.js';
import { KafkaHarness } from './kafka-harness.js';
import { checkLog, consumer, expectAllConsumed, startAppender } from './live-log.js';

/** How long members come and go, milliseconds. */
const STORM_MS = 15_000;
const DAY_MS = 24 * 60 * 60 * 1_000;

let harness: KafkaHarness;
beforeAll(async () => {
  harness = await KafkaHarness.start();
}, 240_000);
afterEach(() => harness.closeLogs());
afterAll(() => harness.stop());

describeEventLog('Kafka', () => harness);

describe('event log on Kafka', () => {
  test('provisioning again changes nothing, another partition count is refused', async () => {
    const topic = await harness.createTopic(3);
    await Promise.all([1, 2, 3].map(() => harness.provision({ [topic]: 3, [`${topic}b`]: 2 })));
    const changed = { code: 'event_log.partitions_changed' };
    await expect(harness.provision({ [topic]: 4 })).rejects.toMatchObject(changed);
    expect(await (await harness.open()).partitions(`${topic}b`)).toBe(2);
  });

  test.each([
    [{ 'cleanup.policy': 'compact', 'message.timestamp.type': 'LogAppendTime' }, 'cleanup.policy'],
    [{ 'cleanup.policy': 'delete' }, 'message.timestamp.type=CreateTime, not LogAppendTime'],
  ])(
    'a topic that somebody made otherwise is refused, by the difference: %j',
    async (made, what) => {
      const topic = `foreign-${Object.keys(made).length}`;
      await harness.makeTopic(topic, made);
      await expect(harness.provision({ [topic]: 1 })).rejects.toMatchObject({
        code: 'event_log.topic_differs',
        message: expect.stringContaining(what),
      });
    },
  );

  test('one record beyond what a partition takes is refused, and later appends go on', async () => {
    const log = await harness.open();
    const topic = await harness.createTopic(1);
    const huge = { ...records(topic, 0, 1)[0]!, value: Buffer.alloc(17 * 1024 * 1024) };
    await expect(log.append([huge])).rejects.toMatchObject({
      code: 'event_log.too_large',
      kind: 'invalid',
      message: expect.stringMatching(/^an append of \d+ bytes is above 16777216$/),
    });
    await log.append(records(topic, 0, 2));
    expect(await log.bounds(topic, 0)).toEqual({ earliest: 0n, next: 2n });
  });

  test('a topic or partition that nobody made is named by the error of each use', async () => {
    const log = await harness.open();
    const topic = await harness.createTopic(1);
    const unknown = { code: 'event_log.unknown_topic' };
    await expect(log.append(records('nobody-made-it', 0, 1))).rejects.toMatchObject(unknown);
    await expect(log.append(records(topic, 1, 1))).rejects.toMatchObject(unknown);
    const options = { ...consumer(harness, topic), topics: ['nobody-made-it'] };
    await expect(log.subscribe(options)).rejects.toMatchObject(unknown);
    const beyond = { ...consumer(harness, topic), fixedPartitions: [0, 1] };
    await expect(log.subscribe(beyond)).rejects.toMatchObject(unknown);
  });

  test('fixed partitions are held from start to stop, with the offsets of their owner', async () => {
    const log = await harness.open();
    const topic = await harness.createTopic(4);
    const all = [0, 1, 2, 3].flatMap((partition) => records(topic, partition, 5));
    await log.append(all);
    const one = await log.subscribe({ ...consumer(harness, topic), fixedPartitions: [0, 1] });
    const two = await log.subscribe({ ...consumer(harness, topic), fixedPartitions: [2, 3] });
    await until('all', async () => (await harness.store.consumed(topic)).length === 20);
    expect(one.assigned()).toEqual([`${topic}/0`, `${topic}/1`]);
    expect(two.assigned()).toEqual([`${topic}/2`, `${topic}/3`]);
    // The group has no members, and shows where its reader is all the same.
    const { group } = consumer(harness, topic);
    await until('positions', async () => (await harness.shownOffset(group, topic, 3)) === '5');
    await one.stop();
    expect(two.assigned()).toEqual([`${topic}/2`, `${topic}/3`]);
    await two.stop();
    const again = await log.subscribe({ ...consumer(harness, topic), fixedPartitions: [0] });
    await log.append(records(topic, 0, 1));
    await until('the next', async () => (await harness.store.consumed(topic)).length === 21);
    await again.stop();
  });

  test('retention past a stored offset (C6) stops that partition alone; nothing jumps', async () => {
    const log = await harness.open();
    const topic = await harness.createTopic(2);
    await log.append([...records(topic, 0, 5), ...records(topic, 1, 5)]);
    const first = await log.subscribe(consumer(harness, topic));
    await until('all', async () => (await harness.store.consumed(topic)).length === 10);
    await first.stop();
    await log.append([...records(topic, 0, 5), ...records(topic, 1, 5)]);
    await harness.dropBelow(topic, 0, 7n);
    const errors: unknown[] = [];
    const second = await log.subscribe({
      ...consumer(harness, topic),
      onError: (error, at) => {
        // What a slow broker does to the member itself is no matter of a partition.
        if (at.partition >= 0) errors.push({ code: (error as { code?: string }).code, ...at });
      },
    });
    await until('the other', async () => (await harness.store.consumed(topic)).length === 15);
    const gone = { code: 'event_log.out_of_range', topic, partition: 0 };
    await until('the report', () => errors.length > 1);
    expect(errors).toEqual(errors.map(() => gone));
    const consumed = await harness.store.consumed(topic);
    expect(consumed.filter(({ partition }) => partition === 0)).toHaveLength(5);
    await second.stop();
  });

  test('a partition that cannot be read holds up no other of its broker, and is told', async () => {
    const log = await harness.open();
    const topic = await harness.createTopic(3);
    const errors: unknown[] = [];
    const options: SubscribeOptions = {
      ...consumer(harness, topic),
      onError: (error, at) => {
        // What a slow broker does to the member itself is no matter of a partition.
        if (at.partition >= 0) errors.push({ code: (error as { code?: string }).code, ...at });
      },
    };
    const subscription = await log.subscribe(options);
    const readable = (partition: number, unreadable: string | null) =>
      expect.objectContaining({ topic, partition, unreadable });
    await log.append([0, 1, 2].flatMap((partition) => records(topic, partition, 2)));
    await until('the first', async () => (await harness.store.consumed(topic)).length === 6);
    expect(subscription.lag()).toEqual([0, 1, 2].map((partition) => readable(partition, null)));
    await harness.appendUnreadable(topic, 0);
    for (let count = 8; count <= 26; count += 2) {
      await log.append([1, 2].flatMap((partition) => records(topic, partition, 1)));
      await until('the others', async () => (await harness.store.consumed(topic)).length === count);
    }
    await until('two reports', () => errors.length > 1);
    const report = { code: 'event_log.unavailable', topic, partition: 0 };
    expect(errors).toEqual(errors.map(() => report));
    expect(subscription.lag()).toEqual([
      readable(0, 'event_log.unavailable'),
      readable(1, null),
      readable(2, null),
    ]);
    await subscription.stop();
  });

  test('readiness and metrics name a partition that cannot be read', async () => {
    const topic = await harness.createTopic(2);
    const runtime = createRuntime({ service: 'test', partitions: 2, logLevel: 'silent' });
    const server = new EventLogServer({
      transportId: Symbol('test'),
      eventLog: await harness.open(),
      group: `server-of-${topic}`,
      owner: new EphemeralPartitionOwner('earliest'),
      onError: () => undefined,
      runtime,
    });
    const seen: string[] = [];
    const take = async (batch: LogBatch): Promise<void> => {
      seen.push(...batch.records.map(({ key }) => key));
      batch.resolve(batch.records.at(-1)!.offset + 1n);
    };
    server.addHandler(topic, take, true);
    await harness.appendUnreadable(topic, 0);
    await (await harness.open()).append(records(topic, 1, 2));
    await new Promise<void>((resolve) => server.listen(() => resolve()));
    await until('the other partition', () => seen.length === 2);
    const told = `partitions that cannot be read: ${topic}/0 (event_log.unavailable)`;
    await until('the note', async () => {
      const { ready, checks } = await runtime.health.readiness();
      return ready && checks[`event_log.server-of-${topic}.read`] === told;
    });
    const text = await runtime.metrics.metrics();
    const gauge = (partition: number) =>
      `event_log_unreadable{group="server-of-${topic}",topic="${topic}",partition="${partition}"}`;
    expect(text).toContain(`${gauge(0)} 1`);
    expect(text).toContain(`${gauge(1)} 0`);
    await server.close();
    expect((await runtime.health.readiness()).checks).toEqual({});
  });

  test('unread records past half of their retention raise the alarm, and reading them ends it', async () => {
    const log = await harness.open();
    const topic = await harness.createTopic(2);
    await log.append([...records(topic, 0, 3), ...records(topic, 1, 3)]);
    const mayEnd = gate();
    const subscription = await log.subscribe({
      ...consumer(harness, topic),
      maxRecords: 1,
      handle: async (batch) => {
        if (batch.partition === 0) await mayEnd.opened;
        await harness.store.commit(batch);
        batch.resolve(batch.records[0]!.offset + 1n);
      },
    });
    await until('the other', async () => (await harness.store.consumed(topic)).length === 3);
    const clock = new FixedClock(new SystemClock().nowMs() + 3 * DAY_MS);
    const errors: object[] = [];
    const runtime = {
      ...createRuntime({ service: 'test', partitions: 2, logLevel: 'silent' }),
      clock,
    };
    runtime.logger.error = (line: object) => errors.push(line);
    const watch = new RetentionWatch(log, runtime, 'test', () => [subscription]);
    watch.start();
    const gauge = (partition: number) =>
      `event_log_retention_at_risk{group="test",topic="${topic}",partition="${partition}"}`;
    await watch.look();
    expect(await runtime.metrics.metrics()).toContain(`${gauge(0)} 0`);
    clock.advance(DAY_MS);
    await watch.look();
    await watch.look();
    const text = await runtime.metrics.metrics();
    expect(text).toContain(`${gauge(0)} 1`);
    expect(text).toContain(`${gauge(1)} 0`);
    expect(errors).toHaveLength(1);
    expect(errors[0]).toMatchObject({ topic, partition: '0', retentionSeconds: 604_800 });
    const { ready, checks } = await runtime.health.readiness();
    expect([ready, checks['event_log.test']]).toEqual([
      true,
      expect.stringContaining(`${topic}/0`),
    ]);
    mayEnd.open();
    await until('all', async () => (await harness.store.consumed(topic)).length === 6);
    await until('no lag', () => subscription.lag().every(({ events }) => events === 0n));
    await watch.look();
    expect(await runtime.metrics.metrics()).toContain(`${gauge(0)} 0`);
    expect((await runtime.health.readiness()).checks).toEqual({});
    watch.stop();
    await subscription.stop();
  });

  test('the group stores its position for displays, and never reads it', async () => {
    const log = await harness.open();
    const topic = await harness.createTopic(1);
    await log.append(records(topic, 0, 4));
    const options = {
      group: `shown-${topic}`,
      topics: [topic],
      owner: harness.store.owner,
      onError: () => undefined,
      maxRecords: 10,
      maxBytes: 10_000,
      lingerMs: () => 0,
      handle: async (batch: Parameters<typeof harness.store.commit>[0]) => {
        await harness.store.commit(batch);
        batch.resolve(batch.records.at(-1)!.offset + 1n);
      },
    };
    const subscription = await log.subscribe(options);
    await until('the position', async () => {
      return (await harness.shownOffset(options.group, topic, 0)) === '4';
    });
    await subscription.stop();
    // A consumer that starts anew in the same group: its own store decides, not the group's.
    const seen: bigint[] = [];
    const anew = await log.subscribe({
      ...options,
      owner: new EphemeralPartitionOwner('earliest'),
      handle: async (batch) => {
        seen.push(...batch.records.map(({ offset }) => offset));
        batch.resolve(batch.records.at(-1)!.offset + 1n);
      },
    });
    await until('all records again', () => seen.length >= 4);
    expect(seen).toEqual([0n, 1n, 2n, 3n]);
    await anew.stop();
  });

  test('a member tells how far it is behind', async () => {
    const log = await harness.open();
    const topic = await harness.createTopic(1);
    await log.append(records(topic, 0, 6));
    const [started, mayEnd] = [gate(), gate()];
    const subscription = await log.subscribe({
      group: `lag-${topic}`,
      topics: [topic],
      owner: harness.store.owner,
      onError: () => undefined,
      maxRecords: 2,
      maxBytes: 10_000,
      lingerMs: () => 0,
      handle: async (batch) => {
        started.open();
        await mayEnd.opened;
        await harness.store.commit(batch);
        batch.resolve(batch.records.at(-1)!.offset + 1n);
      },
    });
    await started.opened;
    const [first] = await log.read(topic, 0, 0n, { maxRecords: 1, maxBytes: 1 });
    const behind = {
      topic,
      partition: 0,
      events: 6n,
      oldestAppendedAtMs: first!.appendedAtMs,
      unreadable: null,
    };
    expect(subscription.lag()).toEqual([behind]);
    mayEnd.open();
    const level = {
      topic,
      partition: 0,
      events: 0n,
      oldestAppendedAtMs: null,
      unreadable: null,
    };
    await until('no lag', () => subscription.lag()[0]!.events === 0n);
    expect(subscription.lag()).toEqual([level]);
    await subscription.stop();
  });

  test('records of 64 KiB travel, and an append above the bound is refused', async () => {
    const log = await harness.open();
    const topic = await harness.createTopic(1);
    const big = { ...records(topic, 0, 1)[0]!, value: Buffer.alloc(64 * 1024, 7) };
    await log.append(Array.from({ length: 60 }, () => big));
    const read = await log.read(topic, 0, 30n, { maxRecords: 100, maxBytes: 64 * 1024 * 1024 });
    expect(read).toHaveLength(30);
    expect(Buffer.from(read[29]!.value).equals(big.value)).toBe(true);
    const tooMany = Array.from({ length: 257 }, () => big);
    await expect(log.append(tooMany)).rejects.toMatchObject({ code: 'event_log.too_large' });
    expect(await log.bounds(topic, 0)).toEqual({ earliest: 0n, next: 60n });
  });

  test('retention below a position stops that partition alone, and nothing jumps', async () => {
    const log = await harness.open();
    const topic = await harness.createTopic(2);
    await log.append([...records(topic, 0, 5), ...records(topic, 1, 5)]);
    const errors: unknown[] = [];
    const seen: string[] = [];
    const mayGoOn = gate();
    const owner = new EphemeralPartitionOwner('earliest');
    const subscription = await log.subscribe({
      group: `gone-${topic}`,
      topics: [topic],
      owner,
      onError: (error, at) => {
        // What a slow broker does to the member itself is no matter of a partition.
        if (at.partition >= 0) errors.push({ code: (error as { code?: string }).code, ...at });
      },
      maxRecords: 1,
      maxBytes: 10_000,
      lingerMs: () => 0,
      handle: async (batch) => {
        const next = batch.records[0]!.offset + 1n;
        seen.push(`${batch.partition}/${next - 1n}`);
        if (batch.partition === 0) {
          await mayGoOn.opened;
          // What it had read ahead would be good; a failure makes it read anew.
          owner.advance(topic, 0, next);
          throw new Error('the handler failed after its commit');
        }
        owner.advance(topic, 1, next);
        batch.resolve(next);
      },
    });
    await until('the other partition', () => seen.filter((at) => at.startsWith('1/')).length === 5);
    await until('the first of this one', () => seen.includes('0/0'));
    await harness.dropBelow(topic, 0, 3n);
    mayGoOn.open();
    const gone = { code: 'event_log.out_of_range', topic, partition: 0 };
    await until('the report', () => errors.length > 1);
    expect(errors.slice(1)).toContainEqual(gone);
    expect(seen.filter((at) => at.startsWith('0/'))).toEqual(['0/0']);
    await subscription.stop();
  });

  test('a storm of members that come and go (D7) loses nothing, repeats nothing, never stands still', async () => {
    const topic = await harness.createTopic(6);
    const writer = await harness.open();
    const appender = startAppender(writer, topic, 6, 10);
    // What a process would be: a log of its own with one member.
    const logs = await Promise.all([1, 2, 3].map(() => harness.open()));
    const members: (LogSubscription | undefined)[] = logs.map(() => undefined);
    let committed = 0;
    const options: SubscribeOptions = {
      ...consumer(harness, topic),
      handle: async (batch) => {
        await harness.store.commit(batch);
        committed += batch.records.length;
        batch.resolve(batch.records.at(-1)!.offset + 1n);
      },
    };
    const clock = new SystemClock();
    const random = new SystemRandom();
    const startMs = clock.monotonicMs();
    for (let turn = 0; clock.monotonicMs() - startMs < STORM_MS; turn += 1) {
      const nth = turn % members.length;
      const member = members[nth];
      members[nth] = member === undefined ? await logs[nth]!.subscribe(options) : undefined;
      const before = committed;
      // Leaving takes as long as the batches in hand; the next one comes or goes meanwhile.
      void member?.stop();
      await delay(200 + Math.floor((random.bytes(1)[0]! / 256) * 300));
      // Whoever came or went, those who are there go on.
      if (members.every((one) => one === undefined)) continue;
      await until('progress after a change', () => committed > before);
    }
    const appended = await appender.stop();
    const last = await logs[0]!.subscribe(options);
    await expectAllConsumed(harness, writer, topic, 6);
    await checkLog(writer, topic, 6, appended);
    await last.stop();
  });
});
