import { uuidHex, uuidV4, type Clock, type Random } from '#libs/kernel';
import type { Logger } from '#libs/platform/telemetry';
import { hourOf, type LedgerUpkeep, type MergePlace } from '#libs/usage/core';

import type { SealMetrics } from './seal-metrics.js';

/** What merging works with. */
export interface RollupMergingParts {
  readonly upkeep: LedgerUpkeep;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: SealMetrics;
}

/** How long after its end an hour is merged; a batch that comes later is merged by a later pass. */
const SETTLING_MS = 600_000;

/**
 * Sums the cells of closed hours over their batches, so that questions about the past read one cell
 * where there were many. No figure rests on it: what is not merged is read batch by batch.
 */
export class RollupMerging {
  constructor(private readonly parts: RollupMergingParts) {}

  /** One pass over the batches that are not merged. @returns how many it merged */
  async run(signal: AbortSignal): Promise<number> {
    const { upkeep, clock, random, logger, metrics } = this.parts;
    const beforeMs = hourOf(clock.nowMs() - SETTLING_MS);
    let after: MergePlace | null = null;
    let merged = 0;
    let refused = 0;
    do {
      const order = { beforeMs, after, run: uuidHex(uuidV4(random)) };
      const done = await upkeep.mergeClosed(order);
      merged += done.batches;
      refused += done.refused;
      metrics.merged.inc(done.batches);
      after = done.next;
    } while (after !== null && !signal.aborted);
    metrics.mergeRefused.set(refused);
    if (refused > 0) logger.warn({ refused }, 'batches whose cells differ from their seal wait');
    return merged;
  }
}
