import {
  Injectable,
  type BeforeApplicationShutdown,
  type OnApplicationBootstrap,
} from '@nestjs/common';

import type { OutboxRelay } from '#libs/platform/postgres';

import type { ReconcilerWorker } from './jobs/reconciler.worker.js';

/** Runs what works without being asked: the reconciler and the relay of the outbox. */
@Injectable()
export class BudgetBackground implements OnApplicationBootstrap, BeforeApplicationShutdown {
  constructor(
    private readonly reconciler: Pick<ReconcilerWorker, 'start' | 'stop'>,
    private readonly relay: Pick<OutboxRelay, 'start' | 'stop'>,
  ) {}

  onApplicationBootstrap(): void {
    this.reconciler.start();
    this.relay.start();
  }

  /** The relay stops last: it sends what the reconciler still wrote, or leaves it for the next start. */
  async beforeApplicationShutdown(): Promise<void> {
    await this.reconciler.stop();
    await this.relay.stop();
  }
}
