import {
  Injectable,
  type BeforeApplicationShutdown,
  type OnApplicationBootstrap,
} from '@nestjs/common';

import type { LogRetentionWorker } from '#libs/event-log/adapters';
import type { OutboxRelay } from '#libs/platform/postgres';

import type { EnforcementJobs } from './jobs/enforcement.jobs.js';
import type { RatedReplayWorker } from './jobs/rated-replay.worker.js';
import type { ReconcilerWorker } from './jobs/reconciler.worker.js';

/** Runs what works without being asked: reconciler, enforcement, retention, relay of the outbox. */
@Injectable()
export class BudgetBackground implements OnApplicationBootstrap, BeforeApplicationShutdown {
  constructor(
    private readonly reconciler: Pick<ReconcilerWorker, 'start' | 'stop'>,
    private readonly retention: Pick<LogRetentionWorker, 'start' | 'stop'>,
    private readonly relay: Pick<OutboxRelay, 'start' | 'stop'>,
    private readonly enforcement: Pick<EnforcementJobs, 'start'>,
    private readonly replay: Pick<RatedReplayWorker, 'start' | 'stop'>,
  ) {}

  onApplicationBootstrap(): void {
    this.reconciler.start();
    this.retention.start();
    this.relay.start();
    this.enforcement.start();
    this.replay.start();
  }

  /** The relay stops last: it sends what the reconciler still wrote, or leaves it for the next start. */
  async beforeApplicationShutdown(): Promise<void> {
    await this.reconciler.stop();
    await this.replay.stop();
    await this.retention.stop();
    await this.relay.stop();
  }
}
