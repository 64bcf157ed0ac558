import { partitionCount, TOPICS } from '#libs/events';
import type { EventLog } from '#libs/event-log/core';
import { AppError, type Clock } from '#libs/kernel';
import type { Database } from '#libs/platform/postgres';
import { MeteringProgress, type LedgerProgress } from '#libs/usage/core';

import type { SealQueue } from '../sealing/seal-queue.js';
import type { StreamStore } from './stream-store.js';

/** What the progress is read from. */
export interface LedgerProgressParts {
  readonly database: Database;
  readonly eventLog: Pick<EventLog, 'bounds' | 'read'>;
  readonly streams: StreamStore;
  readonly seals: SealQueue;
  readonly clock: Clock;
  /** `LOG_PARTITIONS`. */
  readonly logPartitions: number;
}

const SOURCES = [TOPICS.requestCompleted, TOPICS.requestRejected] as const;
const ONE_RECORD = { maxRecords: 1, maxBytes: 1 };

/**
 * How far figures are complete: up to the oldest record that is not in the ledger, or in a batch without
 * seal, and up to when the oldest open gap of an emitter was found. Where the log cannot say how old a
 * record is, up to the newest batch of its partition: never beyond what is there.
 */
export class LogLedgerProgress extends MeteringProgress {
  constructor(private readonly parts: LedgerProgressParts) {
    super();
  }

  async progress(): Promise<LedgerProgress> {
    const { database, streams, seals, clock, logPartitions } = this.parts;
    // Taken first: what is appended while we look is recorded later than this.
    const nowMs = clock.nowMs();
    const { rows } = await database.query<{
      topic: string;
      partition: number;
      next_offset: bigint;
    }>('SELECT topic, partition, next_offset FROM log_position');
    const positions = new Map(
      rows.map((row) => [`${row.topic}/${row.partition}`, row.next_offset]),
    );
    const times = await Promise.all(
      SOURCES.flatMap((topic) =>
        Array.from({ length: partitionCount(topic, logPartitions) }, (_, partition) =>
          this.oldestUnread(topic, partition, positions.get(`${topic}/${partition}`)),
        ),
      ),
    );
    // Asked after the positions: what they cover is sealed by now, or found waiting.
    times.push(await seals.oldestWaitingMs(database), await this.oldestGapMs());
    return {
      completeThroughMs: Math.min(nowMs, ...times.filter((timeMs) => timeMs !== null)),
      missing: await streams.missing(database),
    };
  }

  private async oldestGapMs(): Promise<number | null> {
    const { rows } = await this.parts.database.query<{ oldest: Date | null }>(
      'SELECT min(detected_at) AS oldest FROM emitter_gap WHERE resolved_at IS NULL',
    );
    return rows[0]?.oldest?.getTime() ?? null;
  }

  /**
   * When the oldest record that is not in the ledger was appended, or earlier where the log no longer
   * says; null when all are.
   */
  private async oldestUnread(
    topic: string,
    partition: number,
    position: bigint | undefined,
  ): Promise<number | null> {
    const { eventLog } = this.parts;
    const bounds = await eventLog.bounds(topic, partition);
    const nextOffset = position ?? bounds.earliest;
    if (nextOffset === bounds.next) return null;
    // The partition has stopped: the log lost its end, and holds records that are never read, or it
    // dropped what was not read.
    if (nextOffset > bounds.next || nextOffset < bounds.earliest) {
      return this.newestCarried(topic, partition);
    }
    try {
      const [oldest] = await eventLog.read(topic, partition, nextOffset, ONE_RECORD);
      if (oldest !== undefined) return oldest.appendedAtMs;
    } catch (error) {
      // Retention runs beside us.
      if (!(error instanceof AppError) || error.code !== 'event_log.out_of_range') throw error;
    }
    return this.newestCarried(topic, partition);
  }

  /**
   * A time before which every record of the partition was carried: when the newest batch began to be
   * recorded; the start of its month once its seal is forgotten; 0 when there is none. Not when it was
   * planned, which can be long after the next record was appended.
   */
  private async newestCarried(topic: string, partition: number): Promise<number> {
    const { rows } = await this.parts.database.query<{ since: Date }>(
      `SELECT coalesce(q.recorded_from,
         make_timestamptz(p.month / 100, p.month % 100, 1, 0, 0, 0, 'UTC')) AS since
       FROM sink_plan p LEFT JOIN seal_queue q USING (batch_id)
       WHERE p.topic = $1 AND p.partition = $2 AND p.state = 'DONE'
       ORDER BY p.first_offset DESC LIMIT 1`,
      [topic, partition],
    );
    return rows[0]?.since.getTime() ?? 0;
  }
}
