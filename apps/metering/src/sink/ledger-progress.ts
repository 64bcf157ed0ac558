import { partitionCount, TOPICS } from '#libs/events';
import type { EventLog } from '#libs/event-log/core';
import type { Clock } from '#libs/kernel';
import type { Database } from '#libs/platform/postgres';
import { MeteringProgress, type LedgerProgress } from '#libs/usage/core';

import type { StreamStore } from './stream-store.js';

/** What the progress is read from. */
export interface LedgerProgressParts {
  readonly database: Database;
  readonly eventLog: EventLog;
  readonly streams: StreamStore;
  readonly clock: Clock;
  /** `LOG_PARTITIONS`. */
  readonly logPartitions: number;
}

const SOURCES = [TOPICS.requestCompleted, TOPICS.requestRejected] as const;
const ONE_RECORD = { maxRecords: 1, maxBytes: 1 };

/** How far the ledger is complete, from the stored offsets and the log's own bounds. */
export class LogLedgerProgress extends MeteringProgress {
  constructor(private readonly parts: LedgerProgressParts) {
    super();
  }

  async progress(): Promise<LedgerProgress> {
    const { database, streams, clock, logPartitions } = this.parts;
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
    return {
      completeThroughMs: Math.min(nowMs, ...times.filter((timeMs) => timeMs !== null)),
      missing: await streams.missing(database),
    };
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
