import { partitionCount, TOPICS } from '#libs/events';

/** Topics and how many partitions each has. */
export type TopicPartitions = Readonly<Record<string, number>>;

/** Every topic of the product for a deployment with `LOG_PARTITIONS` partitions. */
export function productTopics(logPartitions: number): TopicPartitions {
  const names = Object.values(TOPICS);
  return Object.fromEntries(names.map((topic) => [topic, partitionCount(topic, logPartitions)]));
}
