import type { UsageRatedV1 } from '#libs/events';
import { partitionCount, TOPICS } from '#libs/events';
import type { EventLog, LogRecordInput } from '#libs/event-log/core';
import { AppError, type Clock } from '#libs/kernel';
import type { Database } from '#libs/platform/postgres';
import type { Logger } from '#libs/platform/telemetry';
import { RatedReplay, type FinishedThrough } from '#libs/usage/core';

import { ratedRecord } from '../domain/rated-message.js';
import type { BatchSink } from './batch-sink.js';
import type { StoredPlan } from './plan-store.js';

/** What messages are sent again from. */
export interface RatedReplayParts {
  readonly database: Database;
  readonly eventLog: EventLog;
  readonly sink: BatchSink;
  readonly clock: Clock;
  readonly logger: Logger;
  /** `LOG_PARTITIONS`. */
  readonly logPartitions: number;
}

/** Messages of one call. */
const MOST_MESSAGES = 200;
/** Messages in memory at once and in one append; each has up to 512 KiB. */
const MESSAGES_PER_APPEND = 8;
/** Told to whoever reads the log: the batch was announced before. */
const RESEND = { resend: '1' } as const;

interface SentRow extends Record<string, unknown> {
  readonly key: string;
  readonly headers: string;
  readonly body: Buffer;
}

/**
 * Sends the messages of finished batches once more: from the outbox, which keeps them for 24 h, else
 * formed again from the records of the batch. The receiver knows a repeat by its batch id.
 */
export class LogRatedReplay extends RatedReplay {
  constructor(private readonly parts: RatedReplayParts) {
    super();
  }

  async replay(topic: string, partition: number, fromOffset: string): Promise<string> {
    const { database, eventLog, sink, logger } = this.parts;
    if (topic !== TOPICS.requestCompleted || !/^\d{1,18}$/.test(fromOffset)) {
      throw unknown(topic, partition, fromOffset);
    }
    const from = BigInt(fromOffset);
    const plans = await sink.plans.doneFrom(database, topic, partition, from, MOST_MESSAGES);
    if (plans[0] === undefined || plans[0].range.first > from) {
      throw unknown(topic, partition, fromOffset);
    }
    for (let at = 0; at < plans.length; at += MESSAGES_PER_APPEND) {
      const some = plans.slice(at, at + MESSAGES_PER_APPEND);
      const sent = await this.sentBefore(partition, some);
      const records: LogRecordInput[] = [];
      for (const plan of some) {
        const record = sent.get(plan.batchId) ?? (await this.formed(plan));
        records.push({ ...record, headers: { ...record.headers, ...RESEND } });
      }
      await eventLog.append(records);
    }
    logger.warn(
      { topic, partition, fromOffset, batches: plans.length },
      'rated batches sent again',
    );
    return String(plans.at(-1)!.range.last + 1n);
  }

  async finishedThrough(): Promise<readonly FinishedThrough[]> {
    const { database, sink, logPartitions } = this.parts;
    const topic = TOPICS.requestCompleted;
    const partitions = partitionCount(topic, logPartitions);
    const through = await sink.plans.newestDone(database, topic, partitions);
    return through.map(({ partition, last }) => ({
      topic,
      partition,
      nextOffset: String(last + 1n),
    }));
  }

  private async sentBefore(
    partition: number,
    plans: readonly StoredPlan[],
  ): Promise<ReadonlyMap<string, LogRecordInput>> {
    const { rows } = await this.parts.database.query<SentRow>(
      `SELECT key, headers, body FROM outbox
       WHERE topic = $1 AND lane = $2 AND key = ANY ($3::text[])`,
      [TOPICS.usageRated, partition, plans.map(({ batchId }) => batchId)],
    );
    return new Map(
      rows.map(({ key, headers, body }) => [
        key,
        {
          topic: TOPICS.usageRated,
          partition,
          key,
          headers: JSON.parse(headers) as Record<string, string>,
          value: body,
        },
      ]),
    );
  }

  /** @throws AppError of the log when the records are no longer what they were, or gone */
  private async formed(plan: StoredPlan): Promise<LogRecordInput> {
    const signal = new AbortController().signal;
    const { rated } = await this.parts.sink.finished.formAgain(plan, signal);
    // How far its emitters had come then is not kept; the newest message says how far they are.
    const message: UsageRatedV1 = { ...(rated as UsageRatedV1), watermarks: [] };
    return ratedRecord(message, this.parts.clock.nowMs());
  }
}

function unknown(topic: string, partition: number, fromOffset: string): AppError {
  return new AppError({
    code: 'metering.rated_unknown',
    kind: 'not_found',
    publicMessage: 'no rated batch holds this offset',
    internalMessage: `offset ${fromOffset} of ${topic}/${partition} is in no finished batch that is kept`,
  });
}
