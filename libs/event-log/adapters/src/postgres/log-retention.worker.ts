import { messageOf, PeriodicWorker } from '#libs/kernel';
import type { Database } from '#libs/platform/postgres';
import type { Logger } from 'pino';
import type { EventLog } from '../../../core/src/index.js';

/** Pause between two passes, milliseconds. */
const EVERY_MS = 600_000;

/** What the retention of a service's topics needs. */
export interface LogRetentionParts {
  readonly eventLog: Pick<EventLog, 'retire'>;
  /** The consumer's own schema; its `log_position` says what was read. */
  readonly database: Database;
  /** How long each topic is kept, seconds; at least 7 days. Only topics that nobody else consumes. */
  readonly keepSeconds: Readonly<Record<string, number>>;
  readonly logger: Pick<Logger, 'warn'>;
}

/**
 * Keeps the topics of their one durable consumer from growing for ever: drops what is both read and
 * old, in bounded steps, beside the work of the partitions. What is not read stays, however old.
 */
export class LogRetentionWorker extends PeriodicWorker {
  constructor(private readonly parts: LogRetentionParts) {
    super();
  }

  /** Drops everything that is due. @returns how many records went */
  async pass(): Promise<number> {
    const { eventLog, database, keepSeconds } = this.parts;
    const { rows } = await database.query<{
      topic: string;
      partition: number;
      next_offset: bigint;
    }>('SELECT topic, partition, next_offset FROM log_position WHERE topic = ANY ($1::text[])', [
      Object.keys(keepSeconds),
    ]);
    let retired = 0;
    for (const { topic, partition, next_offset: before } of rows) {
      for (let step = 1; step > 0 && !this.signal.aborted; retired += step) {
        step = await eventLog.retire(topic, partition, before, keepSeconds[topic]!);
      }
    }
    return retired;
  }

  protected failed(error: unknown): void {
    // Nothing rests on it: the same records are found by the next pass.
    this.parts.logger.warn({ reason: messageOf(error) }, 'old records could not be dropped');
  }

  protected pauseMs(): number {
    return EVERY_MS;
  }
}
