import { Database } from '#libs/platform/postgres';

import { partitionsChanged } from '../log-errors.js';
import type { TopicPartitions } from '../topic-partitions.js';

/**
 * Makes the topics that are missing. Idempotent; any number of processes may call it at once.
 * @param url a login that may act as the owner of schema `event_log`, after the migrations
 * @throws AppError `event_log.partitions_changed` when a topic has another count: keys would move
 *   to other partitions and their order would be lost
 */
export async function provisionTopics(url: string, topics: TopicPartitions): Promise<void> {
  const database = new Database({
    url,
    schema: 'event_log',
    applicationName: 'tollgate-provision',
    maxConnections: 1,
  });
  try {
    await database.transaction(async (tx) => {
      // One order for everybody, so that two processes do not wait for each other.
      for (const topic of Object.keys(topics).toSorted()) {
        const count = topics[topic]!;
        const { rowCount } = await tx.query(
          'INSERT INTO log_topic (topic, partitions) VALUES ($1, $2) ON CONFLICT DO NOTHING',
          [topic, count],
        );
        if (rowCount === 1) {
          await tx.query(
            `INSERT INTO log_partition (topic, partition)
             SELECT $1, nth FROM generate_series(0, $2::integer - 1) AS nth`,
            [topic, count],
          );
          continue;
        }
        const { rows } = await tx.query<{ partitions: number }>(
          'SELECT partitions FROM log_topic WHERE topic = $1',
          [topic],
        );
        if (rows[0]!.partitions !== count)
          throw partitionsChanged(topic, rows[0]!.partitions, count);
      }
    });
  } finally {
    await database.close();
  }
}
