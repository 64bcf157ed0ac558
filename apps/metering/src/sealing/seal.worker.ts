import { backoffMs, delay, failpoint, messageOf, type Clock, type Random } from '#libs/kernel';
import type { Database } from '#libs/platform/postgres';
import type { Logger } from '#libs/platform/telemetry';
import type { UsageStore } from '#libs/usage/core';

import type { SealMetrics } from './seal-metrics.js';
import type { SealQueue } from './seal-queue.js';

/** What the sealer works with. */
export interface SealWorkerParts {
  readonly database: Database;
  readonly queue: SealQueue;
  readonly usageStore: UsageStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: SealMetrics;
}

/** Seals of one insert. */
const MOST = 5_000;
/** Between the starts of two passes while there is something to seal, milliseconds. */
const EVERY_MS = 250;
/** Longest pause between two looks: other processes commit batches too, milliseconds. */
const IDLE_MS = 1_000;
/** After a failure, milliseconds. */
const BACKOFF = { firstMs: 100, mostMs: 10_000 };

/**
 * Makes committed batches visible to figures: one insert for the waiting seals of all partitions,
 * then the mark that they are done. Killed in between it writes the same seals once more, which
 * changes nothing. Several processes may run one; each batch is sealed by one of them at a time.
 */
export class SealWorker {
  private readonly stopping = new AbortController();
  private wake = new AbortController();
  private running: Promise<void> | undefined;

  constructor(private readonly parts: SealWorkerParts) {
    parts.queue.onAdded(() => this.wake.abort());
  }

  start(): void {
    this.running ??= this.run();
  }

  /** Ends after the pass under way; what waits then is sealed by the next start. */
  async stop(): Promise<void> {
    this.stopping.abort();
    this.wake.abort();
    await this.running;
  }

  /** One pass. @returns how many batches were sealed; fewer than 5,000 when nothing more waited */
  async pass(): Promise<number> {
    const { database, queue, usageStore, clock, metrics } = this.parts;
    return database.transaction(async (tx) => {
      const seals = await queue.take(tx, MOST);
      if (seals.length === 0) return 0;
      failpoint('seal.before');
      await usageStore.insertSeals(seals, clock.nowMs());
      failpoint('seal.after');
      await queue.markDone(
        tx,
        seals.map(({ batchId }) => batchId),
      );
      tx.afterCommit(() => metrics.sealed.inc(seals.length));
      return seals.length;
    });
  }

  private async run(): Promise<void> {
    const { clock, logger, metrics, random } = this.parts;
    let failures = 0;
    while (!this.stopping.signal.aborted) {
      this.wake = new AbortController();
      const begunMs = clock.monotonicMs();
      let sealed = 0;
      try {
        sealed = await this.pass();
        failures = 0;
        metrics.sealingStopped.set(0);
      } catch (error) {
        metrics.sealingStopped.set(1);
        logger.warn({ reason: messageOf(error) }, 'batches could not be sealed; they wait');
        const unit = random.bytes(1)[0]! / 256;
        await delay(backoffMs(failures, BACKOFF, unit), this.stopping.signal);
        failures += 1;
        continue;
      }
      if (sealed === 0) await this.pause(IDLE_MS, this.wake.signal);
      if (sealed < MOST) {
        const passedMs = clock.monotonicMs() - begunMs;
        await this.pause(Math.max(0, EVERY_MS - passedMs), this.stopping.signal);
      }
    }
  }

  private async pause(timeMs: number, signal: AbortSignal): Promise<void> {
    if (!this.stopping.signal.aborted) await delay(timeMs, signal);
  }
}
