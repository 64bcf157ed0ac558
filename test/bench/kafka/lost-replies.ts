import { Producer as OtherProducer, ProduceAcks } from '@platformatic/kafka';
import { Kafka, logLevel } from 'kafkajs';

import type { EventLog } from '#libs/event-log/core';
import { delay } from '#libs/kernel';
import type { TcpFaultProxy } from '#libs/testing';

import { eventOf, openLog, type Client } from './client-run.js';

/** What became of records that were acknowledged while replies were lost. */
export interface LostReplies {
  readonly acknowledged: number;
  readonly missing: number;
  /** Records beyond the first of each; readers of ours drop them. */
  readonly repeated: number;
  readonly droppedReplies: number;
  readonly failedCalls: number;
}

/** Share of the replies that is lost. */
const SHARE = 0.05;
const CONCURRENT = 20;

interface Setting {
  readonly client: Client;
  readonly brokers: readonly string[];
  readonly proxy: TcpFaultProxy;
  readonly topic: string;
  readonly records: number;
}

/** As in the product: one batch in flight, no idempotence, the caller sends again. */
export async function oneInFlight(setting: Setting): Promise<LostReplies> {
  const { client, brokers, proxy, topic, records } = setting;
  const log = openLog(client, brokers, 2_000);
  await log.append([eventOf(topic, 0, 0)]);
  const droppedBefore = proxy.droppedReplies;
  let failedCalls = 0;
  proxy.set({ kind: 'drop_replies', share: SHARE });
  for (let number = 1; number < records;) {
    const batch = Array.from({ length: 10 }, (_, nth) => eventOf(topic, 0, number + nth));
    try {
      await log.append(batch);
      number += batch.length;
    } catch {
      failedCalls += 1;
      await delay(5);
    }
  }
  proxy.set({ kind: 'none' });
  await log.close();
  const acknowledged = new Set(Array.from({ length: records }, (_, number) => `key-${number}`));
  return {
    ...(await judge(setting, acknowledged)),
    droppedReplies: proxy.droppedReplies - droppedBefore,
    failedCalls,
  };
}

/** What the product avoids: the client's own idempotence and retries under concurrent calls. */
export async function concurrentIdempotent(setting: Setting): Promise<LostReplies> {
  const { proxy, records } = setting;
  const sender = await idempotentSender(setting);
  await sender.send(0);
  const acknowledged = new Set(['key-0']);
  const droppedBefore = proxy.droppedReplies;
  let failedCalls = 0;
  proxy.set({ kind: 'drop_replies', share: SHARE });
  for (let number = 1; number < records; number += CONCURRENT) {
    const calls = Array.from({ length: CONCURRENT }, async (_, nth) => {
      try {
        await sender.send(number + nth);
        acknowledged.add(`key-${number + nth}`);
      } catch {
        failedCalls += 1;
      }
    });
    await Promise.all(calls);
  }
  proxy.set({ kind: 'none' });
  await sender.close();
  return {
    ...(await judge(setting, acknowledged)),
    droppedReplies: proxy.droppedReplies - droppedBefore,
    failedCalls,
  };
}

interface Sender {
  send(number: number): Promise<unknown>;
  close(): Promise<void>;
}

async function idempotentSender({ client, brokers, topic }: Setting): Promise<Sender> {
  const bootstrapBrokers = [...brokers];
  if (client === 'platformatic') {
    const producer = new OtherProducer({
      clientId: 'bench',
      bootstrapBrokers,
      idempotent: true,
      retries: 20,
      retryDelay: 20,
      requestTimeout: 2_000,
    });
    return {
      send: (number) => {
        const { key, value, partition } = eventOf(topic, 0, number);
        const message = { topic, partition, key: Buffer.from(key), value: Buffer.from(value) };
        return producer.send({ acks: ProduceAcks.ALL, messages: [message] });
      },
      close: () => producer.close(true),
    };
  }
  const kafka = new Kafka({
    brokers: bootstrapBrokers,
    clientId: 'bench',
    logLevel: logLevel.NOTHING,
    requestTimeout: 2_000,
  });
  const producer = kafka.producer({
    idempotent: true,
    createPartitioner: () => () => 0,
    retry: { retries: 20, initialRetryTime: 20, maxRetryTime: 200 },
  });
  await producer.connect();
  return {
    send: (number) => {
      const { key, value } = eventOf(topic, 0, number);
      return producer.send({ topic, acks: -1, messages: [{ key, value: Buffer.from(value) }] });
    },
    close: () => producer.disconnect(),
  };
}

async function judge(
  { brokers, topic }: Setting,
  acknowledged: ReadonlySet<string>,
): Promise<Pick<LostReplies, 'acknowledged' | 'missing' | 'repeated'>> {
  const log: EventLog = openLog('kafkajs', brokers);
  const { next } = await log.bounds(topic, 0);
  const counts = new Map<string, number>();
  for (let from = 0n; from < next;) {
    const limit = { maxRecords: 10_000, maxBytes: 4_000_000 };
    const records = await log.read(topic, 0, from, limit);
    for (const { key } of records) counts.set(key, (counts.get(key) ?? 0) + 1);
    from += BigInt(records.length);
  }
  await log.close();
  const missing = [...acknowledged].filter((key) => !counts.has(key)).length;
  const repeated = [...counts.values()].reduce((sum, count) => sum + count - 1, 0);
  return { acknowledged: acknowledged.size, missing, repeated };
}
