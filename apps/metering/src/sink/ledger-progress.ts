import { partitionCount, TOPICS } from '#libs/events';
import type { EventLog } from '#libs/event-log/core';
import type { Clock } from '#libs/kernel';
import type { Database } from '#libs/platform/postgres';
import { MeteringProgress, type LedgerProgress } from '#libs/usage/core';

import type { SealQueue } from '../sealing/seal-queue.js';
import type { StreamStore } from './stream-store.js';

/** What the progress is read from. */
export interface LedgerProgressParts {
  readonly database: Database;
  readonly eventLog: EventLog;
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
 * seal, and up to when the oldest open gap of an emitter was found.
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

  /** When the oldest record that is not in the ledger was appended; null when all are. */
  private async oldestUnread(
    topic: string,
    partition: number,
    position: bigint | undefined,
  ): Promise<number | null> {
    const bounds = await this.parts.eventLog.bounds(topic, partition);
    const nextOffset = position ?? bounds.earliest;
    if (nextOffset >= bounds.next) return null;
    const read = await this.parts.eventLog.read(topic, partition, nextOffset, ONE_RECORD);
    return read[0]?.appendedAtMs ?? null;
  }
}
