import { Controller, Inject } from '@nestjs/common';
import { EventPattern, Payload } from '@nestjs/microservices';

import { TOPICS } from '#libs/events';
import type { LogBatch } from '#libs/event-log/core';

import type { UsageSink } from '../sink/open-sink.js';

/** Tells metering's handlers from those of other services in one application. */
export const METERING_LOG = Symbol('METERING_LOG');

/** The handler of the sink, as a provider. */
export const USAGE_HANDLER = Symbol('USAGE_HANDLER');

/** How long the subscription of the sink waits for a batch to grow, as a provider. */
export const USAGE_LINGER = Symbol('USAGE_LINGER');

/** The topics that metering carries into the ledger. */
@Controller()
export class UsageConsumer {
  constructor(@Inject(USAGE_HANDLER) private readonly handle: UsageSink['handle']) {}

  @EventPattern(TOPICS.requestCompleted, METERING_LOG)
  completed(@Payload() batch: LogBatch): Promise<void> {
    return this.handle(batch);
  }

  @EventPattern(TOPICS.requestRejected, METERING_LOG)
  rejected(@Payload() batch: LogBatch): Promise<void> {
    return this.handle(batch);
  }
}
