import type { OnApplicationShutdown, OnModuleInit } from '@nestjs/common';

import type { LogRetentionWorker } from '#libs/event-log/adapters';
import type { OutboxRelay } from '#libs/platform/postgres';
import type { UsageStore } from '#libs/usage/core';

import type { LedgerWorkers } from './sealing/ledger-workers.js';
import type { GapResendWorker } from './sink/gap-resend.worker.js';
import type { MeteringOwner } from './sink/metering-owner.js';
import type { RetentionWorker } from './sink/retention.worker.js';

/** What starts and stops with the module. */
export interface MeteringLifecycleParts {
  readonly usageStore: UsageStore;
  readonly relay: OutboxRelay;
  readonly retention: RetentionWorker;
  readonly logRetention: LogRetentionWorker;
  readonly owner: MeteringOwner;
  readonly gaps: GapResendWorker;
  readonly ledgerWorkers: LedgerWorkers;
}

/**
 * Brings the ledger to its schema before anything is consumed, and runs the outbox relay, the retention
 * of old rows and of the log, and the questions for missing records until the application closes.
 */
export class MeteringLifecycle implements OnModuleInit, OnApplicationShutdown {
  constructor(private readonly parts: MeteringLifecycleParts) {}

  async onModuleInit(): Promise<void> {
    await this.parts.usageStore.migrate();
    this.parts.relay.start();
    this.parts.retention.start();
    this.parts.logRetention.start();
    this.parts.gaps.start();
    this.parts.ledgerWorkers.start();
  }

  async onApplicationShutdown(): Promise<void> {
    this.parts.owner.stop();
    await this.parts.gaps.stop();
    await this.parts.ledgerWorkers.stop();
    await this.parts.relay.stop();
    await this.parts.retention.stop();
    await this.parts.logRetention.stop();
  }
}
