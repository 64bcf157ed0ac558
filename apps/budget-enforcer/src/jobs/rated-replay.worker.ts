import { readRatedHoles, type RatedHole } from '#libs/budgets/adapters';
import { delay, messageOf, type Clock } from '#libs/kernel';
import type { Database } from '#libs/platform/postgres';
import type { Logger } from '#libs/platform/telemetry';
import type { RatedReplay } from '#libs/usage/core';

import type { BudgetMetrics } from '../budget-metrics.js';

/** Pause between looks, milliseconds; shorter than the shortest patience. */
const LOOK_EVERY_MS = 1_000;

/** What the worker is built from. */
export interface RatedReplayWorkerParts {
  readonly database: Database;
  readonly replay: RatedReplay;
  readonly clock: Clock;
  readonly logger: Pick<Logger, 'warn'>;
  readonly metrics: Pick<BudgetMetrics, 'replayAsked'>;
  /** How long rated batches may wait behind a missing one before it is asked for, milliseconds. */
  readonly patienceMs: number;
}

/**
 * Asks metering to send a missing rated batch again, and asks again as long as it is missing, once
 * per patience. Runs in every instance: what comes twice is applied once.
 */
export class RatedReplayWorker {
  private readonly stopping = new AbortController();
  /** When each source partition was asked for last, monotonic. */
  private readonly askedAtMs = new Map<string, number>();
  private running: Promise<void> | undefined;

  constructor(private readonly parts: RatedReplayWorkerParts) {}

  /** Starts looking in the background. */
  start(): void {
    this.running ??= this.run();
  }

  /** Finishes the call in hand. */
  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  private async run(): Promise<void> {
    const { database, logger, patienceMs } = this.parts;
    while (!this.stopping.signal.aborted) {
      try {
        for (const hole of await readRatedHoles(database)) {
          if (hole.waitingMs >= patienceMs) await this.ask(hole);
        }
      } catch (error) {
        logger.warn({ reason: messageOf(error) }, 'looking for missing rated batches failed');
      }
      await delay(Math.min(LOOK_EVERY_MS, patienceMs), this.stopping.signal);
    }
  }

  private async ask({ topic, partition, fromOffset }: RatedHole): Promise<void> {
    const { replay, clock, logger, metrics, patienceMs } = this.parts;
    const key = `${topic}/${partition}`;
    const nowMs = clock.monotonicMs();
    if (nowMs - (this.askedAtMs.get(key) ?? Number.NEGATIVE_INFINITY) < patienceMs) return;
    this.askedAtMs.set(key, nowMs);
    const detail = { topic, partition, from_offset: String(fromOffset) };
    try {
      await replay.replay(topic, partition, String(fromOffset));
      metrics.replayAsked('asked');
      logger.warn(detail, 'a rated batch is missing and was asked for');
    } catch (error) {
      metrics.replayAsked('failed');
      logger.warn(
        { ...detail, reason: messageOf(error) },
        'a rated batch is missing and cannot be asked for; the next look tries again',
      );
    }
  }
}
