import { Controller } from '@nestjs/common';
import { EventPattern, Payload } from '@nestjs/microservices';

import type { LogBatch } from '#libs/event-log/core';
import { TOPICS } from '#libs/events';

import { CatalogueSource } from '../admission/catalogue-source.js';
import { AnswerResends } from './answer-resends.js';
import { ApplyControl } from './apply-control.js';
import { LatestOwner } from './latest-owner.js';

/** Transport id of the proxy's consumption of the event log. */
export const PROXY_LOG = Symbol('proxy event log');

/** The topics a proxy reads, every process for itself: `control`, `prices`, `emitter.resend`. */
@Controller()
export class ProxyConsumer {
  constructor(
    private readonly control: ApplyControl,
    private readonly catalogue: CatalogueSource,
    private readonly resends: AnswerResends,
    private readonly owner: LatestOwner,
  ) {}

  @EventPattern(TOPICS.control, PROXY_LOG)
  async onControl(@Payload() batch: LogBatch): Promise<void> {
    for (const record of batch.records) this.control.apply(record);
    this.done(batch);
  }

  @EventPattern(TOPICS.prices, PROXY_LOG)
  async onPrices(@Payload() batch: LogBatch): Promise<void> {
    this.catalogue.refresh();
    this.done(batch);
  }

  @EventPattern(TOPICS.emitterResend, PROXY_LOG)
  async onResend(@Payload() batch: LogBatch): Promise<void> {
    for (const record of batch.records) this.resends.apply(record);
    this.done(batch);
  }

  private done(batch: LogBatch): void {
    const next = batch.records.at(-1)!.offset + 1n;
    this.owner.advance(batch.topic, batch.partition, next);
    batch.resolve(next);
  }
}
