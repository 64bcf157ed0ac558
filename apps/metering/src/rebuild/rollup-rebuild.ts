import { toRfc3339, uuidHex, uuidV4, type Clock, type Random } from '#libs/kernel';
import { HOUR_MS, hourOf, type LedgerUpkeep } from '#libs/usage/core';

import {
  RebuildWay,
  type AskedRange,
  type PlannedRebuild,
  type RebuildStep,
} from './rebuild-plan.js';
import type { RebuildDifference } from './rebuild-report.js';
import type { Rebuild } from './rebuild-store.js';

/** Hours of one step: their cells are computed and switched together. */
const STEP_HOURS = 6;

/**
 * Makes rollups anew from ledger rows, at any age, beside those in use: some hours at a time, compared
 * cell by cell, and switched where they differ.
 */
export class RollupRebuild extends RebuildWay {
  constructor(
    private readonly upkeep: LedgerUpkeep,
    private readonly clock: Clock,
    private readonly random: Random,
  ) {
    super();
  }

  async plan({ fromMs, toMs }: AskedRange): Promise<PlannedRebuild> {
    const span = await this.upkeep.hours();
    const nowMs = this.clock.nowMs();
    const { firstHourMs, lastHourMs } = span ?? { firstHourMs: nowMs, lastHourMs: nowMs };
    const from = Math.max(hourOf(fromMs ?? firstHourMs), hourOf(firstHourMs));
    const asked = toMs === null ? Infinity : Math.ceil(toMs / HOUR_MS) * HOUR_MS;
    const to = Math.max(from + HOUR_MS, Math.min(asked, hourOf(lastHourMs) + HOUR_MS));
    return { fromMs: from, toMs: to, total: (to - from) / HOUR_MS };
  }

  async step(rebuild: Rebuild): Promise<RebuildStep> {
    const startMs = rebuild.nextStep === null ? rebuild.fromMs : Number(rebuild.nextStep);
    const endMs = Math.min(rebuild.toMs, startMs + STEP_HOURS * HOUR_MS);
    const label = `rebuild_${uuidHex(uuidV4(this.random))}`;
    const { isApplied } = rebuild;
    const outcome: RebuildDifference['outcome'] = isApplied ? 'repaired' : 'reported';
    const compared = await this.upkeep.rebuildRollup({ startMs, endMs }, isApplied, label);
    return {
      next: endMs >= rebuild.toMs ? null : String(endMs),
      done: (endMs - startMs) / HOUR_MS,
      compared: compared.cells,
      differences: [
        ...compared.differences.map(({ hourMs, stored, computed }) => ({
          subject: toRfc3339(hourMs),
          outcome,
          stored: { rows: stored.attempts, chargePicoUsd: stored.chargePicoUsd },
          rebuilt: { rows: computed.attempts, chargePicoUsd: computed.chargePicoUsd },
        })),
        ...compared.staleMerges.map((run) => ({
          subject: `merge ${run}`,
          outcome,
          stored: null,
          rebuilt: null,
        })),
      ],
    };
  }
}
