import { Controller } from '@nestjs/common';
import { EventPattern, Payload } from '@nestjs/microservices';

import { TOPICS } from '#libs/events';
import type { LogBatch } from '#libs/event-log/core';

import { BatchSink } from '../sink/batch-sink.js';
import { MeteringMetrics } from '../sink/metering-metrics.js';
import { PartitionHealth } from '../sink/partition-health.js';
import { consumeUsageBatch, type ConsumeUsageParts } from './consume-usage-batch.js';

/** Tells metering's handlers from those of other services in one application. */
export const METERING_LOG = Symbol('METERING_LOG');

/** The topics that metering carries into the ledger. */
@Controller()
export class UsageConsumer {
  private readonly parts: ConsumeUsageParts;

  constructor(sink: BatchSink, health: PartitionHealth, metrics: MeteringMetrics) {
    this.parts = { sink, health, metrics };
  }

  @EventPattern(TOPICS.requestCompleted, METERING_LOG)
  completed(@Payload() batch: LogBatch): Promise<void> {
    return consumeUsageBatch(this.parts, batch);
  }

  @EventPattern(TOPICS.requestRejected, METERING_LOG)
  rejected(@Payload() batch: LogBatch): Promise<void> {
    return consumeUsageBatch(this.parts, batch);
  }
}
