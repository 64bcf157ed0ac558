import { formatUsd, parseUsd, toRfc3339 } from '#libs/kernel';
import type { Queryable, Transaction } from '#libs/platform/postgres';
import { hoursOf, type BatchSeal } from '#libs/usage/core';

import type { PlannedBatch } from '../domain/plan-batch.js';

interface SealRow extends Record<string, unknown> {
  readonly batch_id: string;
  readonly topic: string;
  readonly partition: number;
  readonly month: number;
  readonly row_count: number;
  readonly cost_usd: string;
  readonly charge_usd: string;
  readonly first_hour: Date;
  readonly last_hour: Date;
}

/** Batches that wait for their seal, in `metering.seal_queue`. */
export class SealQueue {
  private listener: () => void = () => undefined;

  /** @param listener called after a batch was committed in this process; must not throw */
  onAdded(listener: () => void): void {
    this.listener = listener;
  }

  /** Queues the seal of a batch in the transaction that finishes it; one without rows needs none. */
  async add(tx: Transaction, plan: PlannedBatch): Promise<void> {
    const rows = plan.table === 'usage' ? plan.usageRows : plan.rejectionRows;
    const first = rows[0];
    if (first === undefined) return;
    const { firstHourMs, lastHourMs } = hoursOf(rows);
    await tx.query(
      `INSERT INTO seal_queue (batch_id, topic, partition, month, row_count, cost_usd, charge_usd,
         first_hour, last_hour, recorded_from)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING`,
      [
        plan.batchId,
        plan.range.topic,
        plan.range.partition,
        plan.month,
        rows.length,
        formatUsd(plan.digest.costPicoUsd),
        formatUsd(plan.digest.chargePicoUsd),
        toRfc3339(firstHourMs),
        toRfc3339(lastHourMs),
        toRfc3339(first.recordedAtMs),
      ],
    );
    tx.afterCommit(() => this.listener());
  }

  /**
   * Takes up to `most` waiting seals for as long as the transaction lasts, oldest first; those that
   * another process holds are left out.
   */
  async take(tx: Transaction, most: number): Promise<readonly BatchSeal[]> {
    const { rows } = await tx.query<SealRow>(
      `SELECT batch_id, topic, partition, month, row_count, cost_usd, charge_usd, first_hour, last_hour
       FROM seal_queue WHERE done_at IS NULL
       ORDER BY recorded_from LIMIT $1 FOR UPDATE SKIP LOCKED`,
      [most],
    );
    return rows.map((row) => ({
      batchId: row.batch_id,
      topic: row.topic,
      partition: row.partition,
      month: row.month,
      rows: row.row_count,
      costPicoUsd: parseUsd(row.cost_usd),
      chargePicoUsd: parseUsd(row.charge_usd),
      firstHourMs: row.first_hour.getTime(),
      lastHourMs: row.last_hour.getTime(),
    }));
  }

  async markDone(tx: Transaction, batchIds: readonly string[]): Promise<void> {
    await tx.query(
      'UPDATE seal_queue SET done_at = clock_timestamp() WHERE batch_id = ANY ($1::text[])',
      [batchIds],
    );
  }

  /**
   * Seals again what was sealed in the last `seconds`, and these batches: a power failure can take what
   * was answered.
   */
  async reopen(
    db: Queryable,
    topic: string,
    partition: number,
    seconds: number,
    batchIds: readonly string[],
  ): Promise<void> {
    const { rowCount } = await db.query(
      `UPDATE seal_queue SET done_at = NULL
       WHERE done_at IS NOT NULL AND (batch_id = ANY ($4::text[])
         OR topic = $1 AND partition = $2
           AND done_at > statement_timestamp() - make_interval(secs => $3))`,
      [topic, partition, seconds, batchIds],
    );
    if (rowCount > 0) this.listener();
  }

  /** When the oldest record was appended that waits for its seal, milliseconds UTC; null when none waits. */
  async oldestWaitingMs(db: Queryable): Promise<number | null> {
    const { rows } = await db.query<{ oldest: Date | null }>(
      'SELECT min(recorded_from) AS oldest FROM seal_queue WHERE done_at IS NULL',
    );
    return rows[0]?.oldest?.getTime() ?? null;
  }

  /** Removes up to `most` rows that were sealed more than `seconds` ago. @returns how many */
  async prune(db: Queryable, seconds: number, most: number): Promise<number> {
    const { rowCount } = await db.query(
      `DELETE FROM seal_queue WHERE batch_id = ANY (ARRAY(
         SELECT batch_id FROM seal_queue
         WHERE done_at < clock_timestamp() - make_interval(secs => $1)
         ORDER BY done_at LIMIT $2))`,
      [seconds, most],
    );
    return rowCount;
  }
}
