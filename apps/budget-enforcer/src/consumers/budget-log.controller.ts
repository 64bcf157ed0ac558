import { Controller } from '@nestjs/common';
import { EventPattern, Payload } from '@nestjs/microservices';

import { TOPICS } from '#libs/events';
import type { LogBatch } from '#libs/event-log/core';

import { ApplyControlBatch } from './apply-control-batch.use-case.js';
import { ApplyRatedBatch } from './apply-rated-batch.use-case.js';

/** Tells the handlers of this service from those of others in one application. */
export const BUDGET_LOG = Symbol('budget-enforcer log');

/** Hands batches of the log to their use cases. */
@Controller()
export class BudgetLogController {
  constructor(
    private readonly applyRatedBatch: ApplyRatedBatch,
    private readonly applyControlBatch: ApplyControlBatch,
  ) {}

  /** Rated batches of one source partition, in order. */
  @EventPattern(TOPICS.usageRated, BUDGET_LOG)
  rated(@Payload() batch: LogBatch): Promise<void> {
    return this.applyRatedBatch.execute(batch);
  }

  /** Changes of the control plane; only budget definitions concern this service. */
  @EventPattern(TOPICS.control, BUDGET_LOG)
  control(@Payload() batch: LogBatch): Promise<void> {
    return this.applyControlBatch.execute(batch);
  }
}
