import type { Logger } from '#libs/platform/telemetry';

import type { PlannedBatch } from '../domain/plan-batch.js';
import type { MeteringMetrics } from './metering-metrics.js';
import type { OwnedPartition } from './owned-partition.js';

/** Tells operators what a committed batch brought: counters, and a line for each alarm. */
export class BatchReport {
  constructor(
    private readonly metrics: MeteringMetrics,
    private readonly logger: Logger,
  ) {}

  /** @param lostCount records that the batch gave up as lost */
  committed({ topic }: OwnedPartition, plan: PlannedBatch, lostCount: bigint): void {
    const { metrics, logger } = this;
    metrics.rows.inc({ topic }, plan.digest.rows);
    metrics.repeats.inc({ topic }, plan.dropped.length);
    for (const { faultClass, error, record, booked } of plan.deadLetters) {
      metrics.deadLetters.inc({ topic, class: faultClass });
      if (!booked && plan.table === 'usage') metrics.unknownHolds.inc();
      const offset = record.offset.toString();
      logger.error({ topic, offset, class: faultClass, error, booked }, 'a record was parked');
    }
    for (const eventId of plan.mismatches) {
      metrics.costMismatches.inc();
      logger.error({ eventId }, 'the proxy stated another cost; ours stands');
    }
    for (const { before, after } of plan.streams) {
      const opened = after.gaps.filter(({ fromSeq }) => fromSeq > before.highSeq);
      if (opened.length === 0) continue;
      metrics.gaps.inc(opened.length);
      const { emitterId, lane } = after;
      logger.error({ emitterId, lane, gaps: opened.length }, 'records of an emitter are missing');
    }
    if (lostCount === 0n) return;
    metrics.recordsLost.inc(Number(lostCount));
    const ranges = plan.lost.map(({ emitterId, lane, fromSeq, toSeq }) => ({
      emitterId,
      lane,
      fromSeq: fromSeq.toString(),
      toSeq: toSeq.toString(),
    }));
    logger.error({ ranges, records: lostCount.toString() }, 'an emitter gave records up as lost');
  }
}
