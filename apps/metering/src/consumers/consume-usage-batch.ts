import type { LogBatch, LogRecord } from '#libs/event-log/core';
import { AppError, failpoint, type Clock } from '#libs/kernel';

import type { AdaptiveLinger } from '../domain/adaptive-linger.js';
import { cutBatch, mostRecords } from '../domain/cut-batch.js';
import type { BatchSink } from '../sink/batch-sink.js';
import type { MeteringMetrics } from '../sink/metering-metrics.js';
import type { PartitionHealth } from '../sink/partition-health.js';

/** What consuming a batch needs. */
export interface ConsumeUsageParts {
  readonly sink: BatchSink;
  readonly health: PartitionHealth;
  readonly metrics: MeteringMetrics;
  readonly clock: Clock;
  readonly linger: AdaptiveLinger;
}

/**
 * Carries what the log hands over into the ledger, in as many batches as the rules ask for. The
 * subscription moves on only past what is committed; a failure leaves the rest to be handed over
 * again.
 * @throws AppError `metering.newer_schema` at a record that only newer code can read: its partition
 *   waits, nothing is skipped
 */
export async function consumeUsageBatch(parts: ConsumeUsageParts, batch: LogBatch): Promise<void> {
  const { topic, partition } = batch;
  await parts.health.watch('batch', topic, partition, async () => {
    failpoint('sink.after_read');
    let rest = batch.records;
    while (rest.length > 0 && !batch.signal.aborted) {
      const most = mostRecords(rest[0]!, parts.clock.nowMs());
      const records = cutBatch(rest, Math.min(most, parts.sink.fitting(topic)));
      if (records.length === 0) throw newerSchema(rest[0]!);
      const stopTimer = parts.metrics.batchSeconds.startTimer({ topic });
      const nextOffset = await parts.sink.process(batch, records, batch.signal);
      parts.linger.note(stopTimer() * 1_000);
      batch.resolve(nextOffset);
      rest = rest.filter(({ offset }) => offset >= nextOffset);
    }
  });
}

function newerSchema(record: LogRecord): AppError {
  const { topic, partition, offset } = record;
  return new AppError({
    code: 'metering.newer_schema',
    kind: 'internal',
    publicMessage: 'internal error',
    internalMessage: `offset ${offset} of ${topic}/${partition} needs a newer release`,
  });
}
