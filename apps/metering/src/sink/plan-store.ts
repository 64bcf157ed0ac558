import { assert, formatUsd, parseUsd } from '#libs/kernel';
import type { Queryable, Transaction } from '#libs/platform/postgres';
import type { BatchDigest } from '#libs/usage/core';

import type { BatchRange } from '../domain/batch-identity.js';
import { RATER, type NotedRecords, type PlannedBatch } from '../domain/plan-batch.js';

/** The durable description of a batch. */
export interface StoredPlan {
  readonly batchId: string;
  readonly range: BatchRange;
  /** Offset of the first record that the hash covers; `range.first` when the plan does not say. */
  readonly readFrom: bigint;
  readonly inputSha256: Buffer;
  /** What the batch noted of its records. */
  readonly noted: NotedRecords;
  readonly rater: number;
  readonly month: number;
  readonly digest: BatchDigest;
  /** Of the latest insert that was begun. */
  readonly token: string;
  readonly state: 'PREPARED' | 'DONE';
}

interface PlanRow extends Record<string, unknown> {
  readonly batch_id: string;
  readonly topic: string;
  readonly partition: number;
  readonly first_offset: bigint;
  readonly last_offset: bigint;
  readonly read_from: bigint | null;
  readonly row_count: number;
  readonly input_sha256: Buffer;
  readonly dropped: readonly (bigint | string)[];
  readonly refused: readonly (bigint | string)[];
  readonly unbooked: readonly (bigint | string)[];
  readonly rater: number;
  readonly month: number;
  readonly cost_usd: string;
  readonly charge_usd: string;
  readonly xor64: string;
  readonly token: string;
  readonly state: 'PREPARED' | 'DONE';
}

/** Ten minutes of 33 batches a second: a partition commits a few. */
const MOST_LAST_DONE = 20_000;

function fromRow(row: PlanRow): StoredPlan {
  return {
    batchId: row.batch_id,
    range: {
      topic: row.topic,
      partition: row.partition,
      first: row.first_offset,
      last: row.last_offset,
    },
    readFrom: row.read_from ?? row.first_offset,
    inputSha256: row.input_sha256,
    noted: {
      dropped: offsets(row.dropped),
      refused: offsets(row.refused),
      unbooked: offsets(row.unbooked),
    },
    rater: row.rater,
    month: row.month,
    digest: {
      rows: row.row_count,
      costPicoUsd: parseUsd(row.cost_usd),
      chargePicoUsd: parseUsd(row.charge_usd),
      xor64: BigInt(row.xor64),
    },
    token: row.token,
    state: row.state,
  };
}

function offsets(values: readonly (bigint | string)[]): ReadonlySet<bigint> {
  return new Set(values.map((value) => BigInt(value)));
}

/** Batch plans in `metering.sink_plan`. Writes run in a transaction that has asserted its epoch. */
export class PlanStore {
  /**
   * Makes a plan durable before its insert; its first token is the batch id.
   * @returns false when a plan already begins at this offset, or one of this partition is unfinished
   */
  async prepare(tx: Transaction, plan: PlannedBatch): Promise<boolean> {
    const { range, digest } = plan;
    const { rowCount } = await tx.query(
      `INSERT INTO sink_plan (batch_id, topic, partition, first_offset, last_offset, row_count,
         input_sha256, dropped, rater, month, cost_usd, charge_usd, xor64, token, state,
         refused, unbooked, read_from)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8::bigint[], $9, $10, $11, $12, $13, $1, 'PREPARED',
         $14::bigint[], $15::bigint[], $16)
       ON CONFLICT DO NOTHING`,
      [
        plan.batchId,
        range.topic,
        range.partition,
        range.first,
        range.last,
        digest.rows,
        plan.inputSha256,
        plan.dropped.map(String),
        RATER,
        plan.month,
        formatUsd(digest.costPicoUsd),
        formatUsd(digest.chargePicoUsd),
        digest.xor64.toString(),
        plan.refused.map(String),
        plan.unbooked.map(String),
        plan.readFrom,
      ],
    );
    return rowCount === 1;
  }

  /** Puts another plan in the place of a prepared one whose insert took no row; both begin alike. */
  async replace(tx: Transaction, replaced: string, plan: PlannedBatch): Promise<void> {
    await this.remove(tx, replaced);
    assert(await this.prepare(tx, plan), `plan ${plan.batchId} takes its place`);
  }

  /** Forgets a prepared plan. */
  async remove(tx: Transaction, batchId: string): Promise<void> {
    const { rowCount } = await tx.query(
      `DELETE FROM sink_plan WHERE batch_id = $1 AND state = 'PREPARED'`,
      [batchId],
    );
    assert(rowCount === 1, `plan ${batchId} is prepared`);
  }

  /** Notes the token of an insert about to be begun, so that a successor uses another. */
  async noteToken(tx: Transaction, batchId: string, token: string): Promise<void> {
    await tx.query('UPDATE sink_plan SET token = $2 WHERE batch_id = $1', [batchId, token]);
  }

  /** Replaces the figures of a prepared plan after its rules have changed. */
  async replaceFigures(tx: Transaction, plan: PlannedBatch): Promise<void> {
    const { digest } = plan;
    await tx.query(
      `UPDATE sink_plan SET rater = $2, row_count = $3, cost_usd = $4, charge_usd = $5, xor64 = $6
       WHERE batch_id = $1 AND state = 'PREPARED'`,
      [
        plan.batchId,
        RATER,
        digest.rows,
        formatUsd(digest.costPicoUsd),
        formatUsd(digest.chargePicoUsd),
        digest.xor64.toString(),
      ],
    );
  }

  /** @returns false when the plan was finished before */
  async finish(tx: Transaction, batchId: string): Promise<boolean> {
    const { rowCount } = await tx.query(
      `UPDATE sink_plan SET state = 'DONE', done_at = clock_timestamp()
       WHERE batch_id = $1 AND state = 'PREPARED'`,
      [batchId],
    );
    return rowCount === 1;
  }

  /** The unfinished plan of a partition; there is at most one. */
  async unfinished(db: Queryable, topic: string, partition: number): Promise<StoredPlan | null> {
    const { rows } = await db.query<PlanRow>(
      `SELECT * FROM sink_plan WHERE topic = $1 AND partition = $2 AND state = 'PREPARED'`,
      [topic, partition],
    );
    return rows[0] === undefined ? null : fromRow(rows[0]);
  }

  /** The last offset that a finished plan covers; null when none is kept. */
  async doneThrough(db: Queryable, topic: string, partition: number): Promise<bigint | null> {
    const { rows } = await db.query<{ last: bigint | null }>(
      `SELECT max(last_offset) AS last FROM sink_plan
       WHERE topic = $1 AND partition = $2 AND state = 'DONE'`,
      [topic, partition],
    );
    return rows[0]?.last ?? null;
  }

  /**
   * The last offset that finished plans cover, of each partition that has any: one look at the end of
   * an index per partition, whatever is kept.
   * @param partitions of the topic
   */
  async newestDone(
    db: Queryable,
    topic: string,
    partitions: number,
  ): Promise<readonly { readonly partition: number; readonly last: bigint }[]> {
    const { rows } = await db.query<{ partition: number; last: bigint }>(
      `SELECT n.partition, newest.last_offset AS last
       FROM generate_series(0, $2::integer - 1) AS n (partition)
       CROSS JOIN LATERAL (
         SELECT p.last_offset FROM sink_plan p
         WHERE p.topic = $1 AND p.partition = n.partition AND p.state = 'DONE'
         ORDER BY p.first_offset DESC LIMIT 1) AS newest
       ORDER BY n.partition`,
      [topic, partitions],
    );
    return rows;
  }

  /** Finished plans of a partition that reach beyond an offset, oldest first. */
  async doneFrom(
    db: Queryable,
    topic: string,
    partition: number,
    fromOffset: bigint,
    most: number,
  ): Promise<readonly StoredPlan[]> {
    const { rows } = await db.query<PlanRow>(
      `SELECT * FROM sink_plan
       WHERE topic = $1 AND partition = $2 AND state = 'DONE' AND last_offset >= $3
       ORDER BY first_offset LIMIT $4`,
      [topic, partition, fromOffset, most],
    );
    return rows.map(fromRow);
  }

  /**
   * Plans with rows of a partition that were finished within the last `seconds` of its work, however
   * long ago that was; oldest first, at most the newest 20,000.
   */
  async lastDone(
    db: Queryable,
    topic: string,
    partition: number,
    seconds: number,
  ): Promise<readonly StoredPlan[]> {
    const { rows } = await db.query<PlanRow>(
      `WITH newest AS (
         SELECT * FROM sink_plan WHERE topic = $1 AND partition = $2 AND state = 'DONE'
         ORDER BY first_offset DESC LIMIT ${MOST_LAST_DONE})
       SELECT * FROM newest
       WHERE row_count > 0
         AND done_at > (SELECT max(done_at) FROM newest) - make_interval(secs => $3)
       ORDER BY first_offset`,
      [topic, partition, seconds],
    );
    return rows.map(fromRow);
  }

  /**
   * Removes up to `most` plans that were finished more than `seconds` ago; the newest of each
   * partition stays, so that what is covered stays known.
   * @returns how many were removed
   */
  async prune(db: Queryable, seconds: number, most: number): Promise<number> {
    const { rowCount } = await db.query(
      `DELETE FROM sink_plan WHERE batch_id = ANY (ARRAY(
         SELECT batch_id FROM sink_plan p
         WHERE state = 'DONE' AND done_at < clock_timestamp() - make_interval(secs => $1)
           AND EXISTS (SELECT 1 FROM sink_plan n WHERE n.topic = p.topic
             AND n.partition = p.partition AND n.first_offset > p.last_offset)
         ORDER BY done_at LIMIT $2))`,
      [seconds, most],
    );
    return rowCount;
  }
}
