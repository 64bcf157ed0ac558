import type { Clock } from '#libs/kernel';
import type { Database } from '#libs/platform/postgres';
import type { Logger } from '#libs/platform/telemetry';
import type { LedgerTable, LedgerUpkeep, UsageStore } from '#libs/usage/core';

import type { SealMetrics } from './seal-metrics.js';

/** What the sweep works with. */
export interface OrphanSweepParts {
  readonly database: Database;
  readonly upkeep: LedgerUpkeep;
  readonly usageStore: UsageStore;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: SealMetrics;
}

const DAY_MS = 86_400_000;
/** Younger batches may still be committed. */
const YOUNGEST_MS = DAY_MS;
/** Plans are kept 7 days: beyond this the want of a plan proves nothing. */
const OLDEST_MS = 6 * DAY_MS;
/** Batches looked at in one pass and table; a pass removes no more. */
const MOST = 100;

/**
 * Removes batches that nobody committed: they have rows in the ledger, no seal and no plan (a consumer
 * whose transaction was lost in a fail-over leaves one). No figure ever counted them.
 */
export class OrphanSweep {
  constructor(private readonly parts: OrphanSweepParts) {}

  /** One pass. @returns how many batches were removed */
  async run(signal: AbortSignal): Promise<number> {
    let removed = 0;
    let kept = 0;
    for (const table of ['usage', 'rejection'] as const) {
      for (const { batchId, rows } of await this.candidates(table)) {
        if (signal.aborted) break;
        if (await this.isKnown(batchId)) {
          kept += 1;
          continue;
        }
        await this.parts.usageStore.deleteBatch(table, batchId);
        this.parts.metrics.orphans.inc();
        this.parts.logger.warn(
          { batchId, table, rows },
          'a batch that nobody committed was removed',
        );
        removed += 1;
      }
    }
    this.parts.metrics.unsealed.set(kept);
    return removed;
  }

  private candidates(table: LedgerTable): ReturnType<LedgerUpkeep['unsealed']> {
    const nowMs = this.parts.clock.nowMs();
    const range = { startMs: nowMs - OLDEST_MS, endMs: nowMs - YOUNGEST_MS };
    return this.parts.upkeep.unsealed(table, range, MOST);
  }

  private async isKnown(batchId: string): Promise<boolean> {
    const { rowCount } = await this.parts.database.query(
      `SELECT FROM sink_plan WHERE batch_id = $1
       UNION ALL SELECT FROM seal_queue WHERE batch_id = $1`,
      [batchId],
    );
    return rowCount > 0;
  }
}
