import type { Admin } from 'kafkajs';

import { delay } from '#libs/kernel';
import { partitionsChanged, topicDiffers } from '../log-errors.js';
import type { TopicPartitions } from '../topic-partitions.js';
import { MAX_PARTITION_APPEND_BYTES } from './kafka-appender.js';
import { KafkaConnection, type KafkaAddress } from './kafka-connection.js';
import { fromKafkaError, isKafkaError } from './kafka-errors.js';
import { TOPIC_RESOURCE } from './topic-retention.js';

const DAY_MS = 24 * 60 * 60 * 1_000;

/** How long each topic keeps its records, milliseconds; `-1` = for ever. @default 7 days */
const RETENTION_MS: Readonly<Record<string, number>> = {
  'usage.rated': 30 * DAY_MS,
  prices: -1,
  control: -1,
};
const DEFAULT_RETENTION_MS = 7 * DAY_MS;

/** Settings without which the promises of the log do not hold, whoever made the topic. */
const NEEDED = {
  // Records are kept or dropped by age alone; of two with one key both count.
  'cleanup.policy': 'delete',
  'message.timestamp.type': 'LogAppendTime',
};

/** Pause between two looks at partitions that were made just now, milliseconds, and most looks. */
const LOOK = { pauseMs: 50, most: 600 };

/** Replicas of each partition where the cluster has as many brokers. */
const REPLICAS = 3;

/**
 * Makes the topics that are missing: records carry the broker's append time, nothing is compacted,
 * and with three replicas two have to have a record before it counts. Idempotent; any number of
 * processes may call it at once.
 * @throws AppError `event_log.partitions_changed` when a topic has another count: keys would move
 *   to other partitions and their order would be lost; `event_log.topic_differs` when a topic that
 *   somebody made is compacted, or carries the times of its writers
 */
export async function provisionKafkaTopics(
  address: KafkaAddress,
  topics: TopicPartitions,
): Promise<void> {
  const connection = new KafkaConnection(address, () => undefined);
  const admin = connection.kafka.admin();
  try {
    await admin.connect();
    const { brokers: nodes } = await admin.describeCluster();
    const known = new Set(await admin.listTopics());
    const missing = Object.keys(topics).filter((topic) => !known.has(topic));
    await create(admin, missing, topics, Math.min(REPLICAS, nodes.length));
    await checkOnceKnown(admin, topics);
    await untilServed(admin, missing);
  } catch (error) {
    throw fromKafkaError(error);
  } finally {
    await admin.disconnect();
    connection.destroy();
  }
}

async function create(
  admin: Admin,
  missing: readonly string[],
  topics: TopicPartitions,
  replicas: number,
): Promise<void> {
  if (missing.length === 0) return;
  const settings = (topic: string): Record<string, string | number> => ({
    ...NEEDED,
    'retention.ms': RETENTION_MS[topic] ?? DEFAULT_RETENTION_MS,
    // Age alone decides: a limit of the brokers' own would drop what nobody has read.
    'retention.bytes': -1,
    'max.message.bytes': MAX_PARTITION_APPEND_BYTES + 1024 * 1024,
    'min.insync.replicas': replicas >= REPLICAS ? 2 : 1,
    'unclean.leader.election.enable': 'false',
  });
  try {
    await admin.createTopics({
      waitForLeaders: true,
      topics: missing.map((topic) => ({
        topic,
        numPartitions: topics[topic]!,
        replicationFactor: replicas,
        configEntries: Object.entries(settings(topic)).map(([name, value]) => ({
          name,
          value: String(value),
        })),
      })),
    });
  } catch (error) {
    // Another process was faster; what it made is checked like everything else.
    if (!isKafkaError(error, 'TOPIC_ALREADY_EXISTS', 'KafkaJSAggregateError')) throw error;
  }
}

/** Checks topics of which some may be so new, made by another process, that this broker has not met them. */
async function checkOnceKnown(admin: Admin, topics: TopicPartitions): Promise<void> {
  for (let looks = 1; ; looks += 1) {
    try {
      return await check(admin, topics);
    } catch (error) {
      const isNew = isKafkaError(error, 'UNKNOWN_TOPIC_OR_PARTITION', 'LEADER_NOT_AVAILABLE');
      if (!isNew || looks >= LOOK.most) throw error;
    }
    await delay(LOOK.pauseMs);
  }
}

async function check(admin: Admin, topics: TopicPartitions): Promise<void> {
  const { topics: found } = await admin.fetchTopicMetadata({ topics: Object.keys(topics) });
  for (const { name, partitions } of found) {
    const asked = topics[name]!;
    if (partitions.length !== asked) throw partitionsChanged(name, partitions.length, asked);
  }
  const settings = await settingsOf(admin, Object.keys(topics), Object.keys(NEEDED));
  for (const topic of Object.keys(topics)) {
    for (const [name, needed] of Object.entries(NEEDED)) {
      const value = settings.get(topic)?.[name];
      if (value !== needed) throw topicDiffers(topic, `${name}=${value}, not ${needed}`);
    }
  }
}

/**
 * Waits until the leaders of new partitions know that they lead them: a topic is in the metadata a
 * moment before. For half a minute, then without: whoever uses them tries again.
 */
async function untilServed(admin: Admin, topics: readonly string[]): Promise<void> {
  let waiting = [...topics];
  for (let looks = 0; waiting.length > 0 && looks < LOOK.most; looks += 1) {
    if (looks > 0) await delay(LOOK.pauseMs);
    const served = await Promise.all(waiting.map((topic) => isServed(admin, topic)));
    waiting = waiting.filter((_, index) => !served[index]);
  }
}

async function isServed(admin: Admin, topic: string): Promise<boolean> {
  try {
    await admin.fetchTopicOffsets(topic);
    return true;
  } catch {
    return false;
  }
}

/** Settings of topics as the brokers apply them, by topic and name. */
export async function settingsOf(
  admin: Admin,
  topics: readonly string[],
  names: readonly string[],
): Promise<ReadonlyMap<string, Readonly<Record<string, string>>>> {
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false,
    resources: topics.map((name) => ({
      type: TOPIC_RESOURCE,
      name,
      configNames: [...names],
    })),
  });
  return new Map(
    resources.map(({ resourceName, configEntries }) => [
      resourceName,
      Object.fromEntries(
        configEntries.map(({ configName, configValue }) => [configName, configValue]),
      ),
    ]),
  );
}
