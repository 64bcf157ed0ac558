import { AppError, backoffMs, delay, messageOf, type Random } from '#libs/kernel';
import type { Logger } from '#libs/platform/telemetry';

import type { Worker } from '../sealing/ledger-workers.js';
import type { RebuildWay } from './rebuild-plan.js';
import { addStep, type RebuildKind } from './rebuild-report.js';
import type { ClaimedRebuild, RebuildStore } from './rebuild-store.js';

/** What the worker works with. */
export interface RebuildWorkerParts {
  readonly store: RebuildStore;
  readonly ways: Readonly<Record<RebuildKind, RebuildWay>>;
  readonly random: Random;
  readonly logger: Logger;
}

/** How often a process looks for a rebuild whose process died, milliseconds. */
const LOOK_MS = 5_000;
/** Of an error that is kept. */
const MAX_ERROR_CHARS = 500;
const BACKOFF = { firstMs: 200, mostMs: 10_000 };

/**
 * Carries out the rebuild that runs, wherever it was asked for: any process may take it, one at a time
 * works on it, and after a crash the next goes on with the step that was not finished.
 */
export class RebuildWorker implements Worker {
  private readonly stopping = new AbortController();
  private wake = new AbortController();
  private running: Promise<void> | undefined;

  constructor(private readonly parts: RebuildWorkerParts) {}

  start(): void {
    this.running ??= this.run();
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    this.wake.abort();
    await this.running;
  }

  /** Looks at once. */
  look(): void {
    this.wake.abort();
  }

  /**
   * Carries out the rebuild that runs, if no living process works on it, until it is over, the signal is
   * aborted or this worker stops.
   * @throws whatever an engine throws that may answer later; the claim is given back
   */
  async carryOutNext(signal: AbortSignal): Promise<void> {
    const ending = AbortSignal.any([signal, this.stopping.signal]);
    if (ending.aborted) return;
    const claimed = await this.parts.store.claim();
    if (claimed !== null) await this.carryOut(claimed, ending);
  }

  private async run(): Promise<void> {
    const { logger, random } = this.parts;
    const { signal } = this.stopping;
    let failures = 0;
    while (!signal.aborted) {
      this.wake = new AbortController();
      try {
        await this.carryOutNext(signal);
        failures = 0;
      } catch (error) {
        logger.warn({ reason: messageOf(error) }, 'a rebuild waits; it will be tried again');
        await delay(backoffMs(failures, BACKOFF, random.bytes(1)[0]! / 256), signal);
        failures += 1;
        continue;
      }
      if (!signal.aborted) await delay(LOOK_MS, this.wake.signal);
    }
  }

  private async carryOut(claimed: ClaimedRebuild, signal: AbortSignal): Promise<void> {
    const { store, ways, logger } = this.parts;
    let current = claimed;
    try {
      while (!signal.aborted) {
        const step = await ways[current.rebuild.kind].step(current.rebuild, signal);
        const report = addStep(current.rebuild.report, step);
        const advanced = await store.advance(current, step.next ?? '', report);
        if (advanced === null) return;
        current = advanced;
        if (step.next === null) return await store.finish(current, null);
      }
      await store.release(current);
    } catch (error) {
      const isPassing = !(error instanceof AppError) || error.kind === 'unavailable';
      if (isPassing) {
        await store.release(current);
        throw error;
      }
      const { rebuildId } = current.rebuild;
      logger.error({ rebuildId, reason: messageOf(error) }, 'a rebuild failed');
      await store.finish(current, messageOf(error).slice(0, MAX_ERROR_CHARS));
    }
  }
}
