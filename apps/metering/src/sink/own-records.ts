import type { EventLog, LogRecordInput } from '#libs/event-log/core';
import { laneTarget, TOPICS } from '#libs/events';
import type { Clock } from '#libs/kernel';
import {
  outboxRecord,
  type Database,
  type OutboxRow,
  type OutboxWriter,
  type Transaction,
} from '#libs/platform/postgres';
import type { Logger } from '#libs/platform/telemetry';

import { lostReport, type EmitterRange } from '../domain/emitter-range.js';
import { OWN_EMITTER_ID } from '../domain/record-class.js';

/** What own records are looked for with. */
export interface OwnRecordsParts {
  readonly database: Database;
  readonly eventLog: Pick<EventLog, 'append'>;
  readonly outbox: OutboxWriter;
  readonly clock: Clock;
  readonly logger: Pick<Logger, 'warn' | 'error'>;
  /** `LOG_PARTITIONS`. */
  readonly logPartitions: number;
}

/** Records sent again at once: at most 6.4 MiB. */
const MOST_SENT = 100;
/** Sequences of one gap that are looked up at once; a longer gap is told of piece by piece. */
const MOST_LOOKED_UP = 10_000;
/** Told to whoever reads the log: the record may have been there before. */
const RESEND = { resend: '1' } as const;

/**
 * Rows that were sent and have not come back. Behind a later one that has (`high_seq`) it is lost after
 * a minute; at the end of its lane it may still be waiting to be read, so that takes ten. What is sent
 * again counts as sent now: it is kept, and not sent again for as long.
 */
const TAKE_MISSING = `
UPDATE outbox o SET sent_at = clock_timestamp()
FROM (
  SELECT s.topic, s.lane, s.seq
  FROM outbox_lane l
  LEFT JOIN emitter_watermark w ON w.emitter_id = $1
    AND w.lane = l.lane + CASE l.topic WHEN $2 THEN 0 ELSE $4 END
  JOIN outbox s ON s.topic = l.topic AND s.lane = l.lane
    AND s.seq > coalesce(w.contiguous_seq, 0) AND s.seq <= l.sent_seq
  WHERE l.topic IN ($2, $3)
    AND s.sent_at < clock_timestamp() - CASE WHEN s.seq < coalesce(w.high_seq, 0)
      THEN interval '1 minute' ELSE interval '10 minutes' END
    AND (s.seq > coalesce(w.high_seq, 0) OR EXISTS (
      SELECT 1 FROM emitter_gap g
      WHERE g.emitter_id = w.emitter_id AND g.lane = w.lane AND g.resolved_at IS NULL
        AND s.seq BETWEEN g.from_seq AND g.to_seq))
  ORDER BY s.topic, s.lane, s.seq LIMIT ${MOST_SENT}
  FOR UPDATE OF s SKIP LOCKED
) missing
WHERE (o.topic, o.lane, o.seq) = (missing.topic, missing.lane, missing.seq)
RETURNING o.topic, o.lane, o.seq, o.key, o.headers, o.body`;

/**
 * Metering's outbox as an emitter of the stream that metering reads: what the log lost of it is sent
 * again from the outbox, which keeps it for 24 h, or said to be lost. Compares what was sent with what
 * has arrived, so that it needs no later record to notice.
 */
export class OwnRecords {
  constructor(private readonly parts: OwnRecordsParts) {}

  /** Sends again what is missing, at most 100 records. @returns how many */
  async sendAgain(): Promise<number> {
    const { database, eventLog, logger, logPartitions } = this.parts;
    const { rows } = await database.query<OutboxRow & Record<string, unknown>>(TAKE_MISSING, [
      OWN_EMITTER_ID,
      TOPICS.requestCompleted,
      TOPICS.requestRejected,
      logPartitions,
    ]);
    if (rows.length === 0) return 0;
    const records = rows
      .toSorted((a, b) => Number(a.seq - b.seq))
      .map((row): LogRecordInput => {
        const record = outboxRecord('metering', row);
        return { ...record, headers: { ...record.headers, ...RESEND } };
      });
    await eventLog.append(records);
    logger.warn({ records: records.length }, 'own records did not come back and were sent again');
    return records.length;
  }

  /** Says of gaps in the own stream what the outbox has no longer. */
  async tellLost(tx: Transaction, gaps: readonly EmitterRange[]): Promise<void> {
    const { outbox, clock, logger, logPartitions } = this.parts;
    for (const gap of gaps) {
      const lost = await this.goneOf(tx, gap);
      await outbox.write(
        tx,
        lost.map((range) => lostReport(range, clock.nowMs(), logPartitions)),
      );
      for (const { lane, fromSeq, toSeq } of lost) {
        const range = { lane, from: String(fromSeq), to: String(toSeq) };
        logger.error(range, 'own records are lost: the outbox has them no longer');
      }
    }
  }

  /** What of a gap is not in the outbox. */
  private async goneOf(tx: Transaction, gap: EmitterRange): Promise<readonly EmitterRange[]> {
    const { topic, partition } = laneTarget(gap.lane, this.parts.logPartitions);
    const { rows } = await tx.query<{ seq: bigint }>(
      `SELECT seq FROM outbox WHERE topic = $1 AND lane = $2 AND seq BETWEEN $3 AND $4
       ORDER BY seq LIMIT ${MOST_LOOKED_UP}`,
      [topic, partition, gap.fromSeq, gap.toSeq],
    );
    const kept = rows.map(({ seq }) => seq);
    const end = rows.length < MOST_LOOKED_UP ? gap.toSeq + 1n : kept.at(-1)!;
    const edges = [gap.fromSeq - 1n, ...kept.filter((seq) => seq < end), end];
    return edges.slice(1).flatMap((next, at) => {
      const fromSeq = edges[at]! + 1n;
      return fromSeq < next ? [{ ...gap, fromSeq, toSeq: next - 1n }] : [];
    });
  }
}
