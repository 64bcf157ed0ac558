import { Controller } from '@nestjs/common';
import { EventPattern, Payload } from '@nestjs/microservices';

import type { LogBatch } from '#libs/event-log/core';
import { TOPICS } from '#libs/events';

import { ApplyControlBatch } from './apply-control-batch.use-case.js';

/** Transport id of the auth service's consumption of the event log. */
export const AUTH_LOG = Symbol('auth event log');

/** The `control` topic as auth reads it. */
@Controller()
export class ControlConsumer {
  constructor(private readonly apply: ApplyControlBatch) {}

  @EventPattern(TOPICS.control, AUTH_LOG)
  async onBatch(@Payload() batch: LogBatch): Promise<void> {
    await this.apply.execute(batch);
  }
}
