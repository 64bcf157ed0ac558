import type { ConsumerStore } from '#libs/event-log/contract';
import { PartitionOwner } from '#libs/event-log/core';
import {
  LOG_POSITION_DDL,
  PartitionPositions,
  SqlMigration,
  type Database,
} from '#libs/platform/postgres';

/** A consumer's schema: offsets, and one row per record it has seen. */
export class CreateConsumer extends SqlMigration {
  readonly number = 1;
  readonly title = 'create_consumer';
  readonly sql = `${LOG_POSITION_DDL}
    CREATE TABLE consumed (
      nth bigint GENERATED ALWAYS AS IDENTITY, topic text, partition integer, "offset" bigint, key text,
      PRIMARY KEY (topic, partition, "offset"));`;
}

/** What a consumer commits, with its offsets and fences in the same transaction. */
export function consumerStore(database: Database): ConsumerStore {
  const positions = new PartitionPositions();
  class Owner extends PartitionOwner {
    override take(topic: string, partition: number, bounds: { readonly earliest: bigint }) {
      return positions.take(database, topic, partition, bounds.earliest);
    }
  }
  return {
    owner: new Owner(),
    commit: (batch, records = batch.records) =>
      database.transaction(async (tx) => {
        const { topic, partition, epoch } = batch;
        await positions.assertEpoch(tx, topic, partition, epoch);
        for (const { offset, key } of records) {
          await tx.query(
            'INSERT INTO consumed (topic, partition, "offset", key) VALUES ($1, $2, $3, $4)',
            [topic, partition, offset, key],
          );
        }
        await positions.advance(tx, topic, partition, epoch, records.at(-1)!.offset + 1n);
      }),
    consumed: async (topic) => {
      const { rows } = await database.query<{ partition: number; offset: bigint; key: string }>(
        'SELECT partition, "offset", key FROM consumed WHERE topic = $1 ORDER BY nth',
        [topic],
      );
      return rows;
    },
  };
}
