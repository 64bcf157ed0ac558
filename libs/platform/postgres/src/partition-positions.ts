import { AppError } from '#libs/kernel';
import type { Queryable, Transaction } from './database.js';

/** What a take-over of a partition yields. */
export interface TakenPartition {
  /** Greater than every epoch before. */
  readonly epoch: bigint;
  /** Where to read on. */
  readonly nextOffset: bigint;
}

const TAKE = {
  name: 'log_position_take',
  text: `INSERT INTO log_position AS p (topic, partition, next_offset, epoch, taken_at)
         VALUES ($1, $2, $3, 1, clock_timestamp())
         ON CONFLICT (topic, partition)
         DO UPDATE SET epoch = p.epoch + 1, taken_at = clock_timestamp()
         RETURNING epoch, next_offset`,
};
const STEP_BACK = {
  name: 'log_position_step_back',
  text: `UPDATE log_position SET next_offset = $4
         WHERE topic = $1 AND partition = $2 AND epoch = $3 AND next_offset > $4`,
};
const ASSERT = {
  name: 'log_position_assert',
  text: `SELECT next_offset FROM log_position
         WHERE topic = $1 AND partition = $2 AND epoch = $3 FOR UPDATE`,
};
const ADVANCE = {
  name: 'log_position_advance',
  text: `UPDATE log_position SET next_offset = $4
         WHERE topic = $1 AND partition = $2 AND epoch = $3 AND next_offset <= $4`,
};

/**
 * A consumer's offsets and fences: the table `log_position` of its own schema, found through the
 * search path of the database or transaction it is given.
 */
export class PartitionPositions {
  /**
   * Takes a partition over: every older epoch is fenced from here on. Waits for a transaction of an
   * older epoch that already asserted its own.
   * @param startOffset where a partition without a row starts
   */
  async take(
    db: Queryable,
    topic: string,
    partition: number,
    startOffset: bigint,
  ): Promise<TakenPartition> {
    const { rows } = await db.query<{ epoch: bigint; next_offset: bigint }>(TAKE, [
      topic,
      partition,
      startOffset,
    ]);
    const row = rows[0]!;
    return { epoch: row.epoch, nextOffset: row.next_offset };
  }

  /**
   * Steps back to where the log ends, because it has lost its end: the position lies beyond. Only for a
   * consumer whose effects may be repeated and that finds out by itself what it missed: records that
   * were appended since the loss are not read.
   * @throws AppError `log.fenced` when the epoch is lost or the position is not beyond
   */
  async stepBack(
    db: Queryable,
    topic: string,
    partition: number,
    epoch: bigint,
    endOfLog: bigint,
  ): Promise<void> {
    const { rowCount } = await db.query(STEP_BACK, [topic, partition, epoch, endOfLog]);
    if (rowCount !== 1) throw fenced(topic, partition, epoch);
  }

  /**
   * Starts a consumer's transaction: locks the partition's row until the end of it.
   * @returns the stored next offset
   * @throws AppError `log.fenced` when another owner has taken the partition
   */
  async assertEpoch(
    tx: Transaction,
    topic: string,
    partition: number,
    epoch: bigint,
  ): Promise<bigint> {
    const { rows } = await tx.query<{ next_offset: bigint }>(ASSERT, [topic, partition, epoch]);
    if (rows[0] === undefined) throw fenced(topic, partition, epoch);
    return rows[0].next_offset;
  }

  /**
   * Writes where to read on; never backwards.
   * @throws AppError `log.fenced` when the epoch is lost or the stored offset is beyond
   */
  async advance(
    tx: Transaction,
    topic: string,
    partition: number,
    epoch: bigint,
    nextOffset: bigint,
  ): Promise<void> {
    const { rowCount } = await tx.query(ADVANCE, [topic, partition, epoch, nextOffset]);
    if (rowCount !== 1) throw fenced(topic, partition, epoch);
  }
}

function fenced(topic: string, partition: number, epoch: bigint): AppError {
  return new AppError({
    code: 'log.fenced',
    kind: 'conflict',
    publicMessage: 'internal error',
    internalMessage: `epoch ${epoch} of ${topic}/${partition} was taken over`,
    retryable: true,
    details: { topic, partition },
  });
}
