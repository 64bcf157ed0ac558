import { readRatedHoles, type RatedHole } from '#libs/budgets/adapters';
import { messageOf, PeriodicWorker, type Clock } from '#libs/kernel';
import type { Database } from '#libs/platform/postgres';
import type { Logger } from '#libs/platform/telemetry';
import type { RatedReplay } from '#libs/usage/core';

import type { BudgetAlarms } from '../budget-alarms.js';
import type { BudgetMetrics } from '../budget-metrics.js';
import { ReplayPace } from './replay-pace.js';

/** Pause between looks, milliseconds; shorter than the shortest patience. */
const LOOK_EVERY_MS = 1_000;

/** What the worker is built from. */
export interface RatedReplayWorkerParts {
  readonly database: Database;
  readonly replay: RatedReplay;
  readonly clock: Clock;
  readonly logger: Pick<Logger, 'warn'>;
  readonly metrics: Pick<BudgetMetrics, 'replayAsked' | 'unfilled'>;
  readonly alarms: Pick<BudgetAlarms, 'unfilled'>;
  /** How long rated batches may wait behind a missing one before it is asked for, milliseconds. */
  readonly patienceMs: number;
}

/**
 * Asks metering to send a missing rated batch again, and asks again as long as it is missing, at the
 * pace of `ReplayPace`. Runs in every instance: what comes twice is applied once.
 */
export class RatedReplayWorker extends PeriodicWorker {
  private readonly pace: ReplayPace;

  constructor(private readonly parts: RatedReplayWorkerParts) {
    super();
    this.pace = new ReplayPace(parts.patienceMs);
  }

  protected async pass(): Promise<void> {
    const { database, clock, metrics, alarms } = this.parts;
    const holes = await readRatedHoles(database);
    for (const hole of this.pace.due(holes, clock.monotonicMs())) await this.ask(hole);
    const vain = this.pace.vain(holes);
    metrics.unfilled(vain.length);
    alarms.unfilled(vain);
  }

  protected failed(error: unknown): void {
    const reason = messageOf(error);
    this.parts.logger.warn({ reason }, 'looking for missing rated batches failed');
  }

  protected pauseMs(): number {
    return Math.min(LOOK_EVERY_MS, this.parts.patienceMs);
  }

  private async ask(hole: RatedHole): Promise<void> {
    const { replay, logger, metrics } = this.parts;
    const { topic, partition, fromOffset } = hole;
    const detail = { topic, partition, from_offset: String(fromOffset) };
    try {
      await replay.replay(topic, partition, String(fromOffset));
      this.pace.answered(hole);
      metrics.replayAsked('asked');
      logger.warn(detail, 'a rated batch is missing and was asked for');
    } catch (error) {
      metrics.replayAsked('failed');
      logger.warn(
        { ...detail, reason: messageOf(error) },
        'a rated batch is missing and cannot be asked for; it will be tried again',
      );
    }
  }
}
