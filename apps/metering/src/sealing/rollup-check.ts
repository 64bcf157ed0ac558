import { toRfc3339, uuidHex, uuidV4, type Clock, type Random } from '#libs/kernel';
import type { Logger } from '#libs/platform/telemetry';
import { HOUR_MS, hourOf, type LedgerUpkeep } from '#libs/usage/core';

import type { SealMetrics } from './seal-metrics.js';

/** What the check works with. */
export interface RollupCheckParts {
  readonly upkeep: LedgerUpkeep;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: SealMetrics;
}

/** How long after its end an hour counts as closed; batches of an hour come this late at most as a rule. */
const SETTLING_MS = 600_000;
/** Closed hours of one check, and of the first of a process, which also sees what a power failure took. */
const HOURS = 6;
const HOURS_AT_FIRST = 48;

/**
 * Recomputes the latest closed hours from their rows and compares. A difference is put right and is
 * an alarm all the same, because nothing known makes one.
 */
export class RollupCheck {
  private isFirst = true;

  constructor(private readonly parts: RollupCheckParts) {}

  /** @returns how many hours differed */
  async run(signal: AbortSignal): Promise<number> {
    const { upkeep, clock } = this.parts;
    await upkeep.cleanUp();
    const endMs = hourOf(clock.nowMs() - SETTLING_MS);
    const firstMs = endMs - (this.isFirst ? HOURS_AT_FIRST : HOURS) * HOUR_MS;
    let differing = 0;
    for (let startMs = firstMs; startMs < endMs && !signal.aborted; startMs += HOURS * HOUR_MS) {
      differing += await this.check(startMs, startMs + HOURS * HOUR_MS);
    }
    this.isFirst = this.isFirst && signal.aborted;
    return differing;
  }

  private async check(startMs: number, endMs: number): Promise<number> {
    const { upkeep, random, logger, metrics } = this.parts;
    const label = `check_${uuidHex(uuidV4(random))}`;
    const compared = await upkeep.rebuildRollup({ startMs, endMs }, true, label);
    const { differences, repeatedRows, staleMerges } = compared;
    metrics.checkedThrough.set(endMs / 1000);
    if (repeatedRows > 0) {
      metrics.repeatedRows.inc(repeatedRows);
      logger.error({ repeatedRows, from: toRfc3339(startMs) }, 'the ledger holds an attempt twice');
    }
    if (staleMerges.length > 0) {
      metrics.staleMerges.inc(staleMerges.length);
      logger.error({ staleMerges }, 'merged sums differed from their cells and were withdrawn');
    }
    for (const { hourMs, cells, stored, computed } of differences) {
      metrics.rollupDifferences.inc();
      const byPicoUsd = computed.chargePicoUsd - stored.chargePicoUsd;
      logger.error(
        { hour: toRfc3339(hourMs), cells, byPicoUsd: byPicoUsd.toString() },
        'a rollup differed from its rows and was put right',
      );
    }
    return differences.length;
  }
}
