import { setImmediate as nextTurn } from 'node:timers/promises';

import { AppError, failpoint } from '#libs/kernel';
import type { RejectionRow, UsageRow, UsageStore } from '#libs/usage/core';

import { nextToken } from '../domain/batch-identity.js';
import type { PlannedBatch } from '../domain/plan-batch.js';
import { repairFor } from '../domain/verification.js';
import type { MeteringMetrics } from './metering-metrics.js';
import type { OwnedPartition } from './owned-partition.js';
import { isRowFault } from './row-fault.js';

/** What the repair works with. */
export interface InsertRepairParts {
  readonly usageStore: UsageStore;
  readonly metrics: MeteringMetrics;
  /** Makes the token of the next try durable, under the partition's epoch. */
  readonly noteToken: (owned: OwnedPartition, batchId: string, token: string) => Promise<void>;
}

/** Tries of one call; then the partition is handed over again, after a pause. */
const MAX_ROUNDS = 6;

type Rows = readonly (UsageRow | RejectionRow)[];

/** Inserts of batches, and what is done when it is not certain whether one took place. */
export class InsertRepair {
  constructor(private readonly parts: InsertRepairParts) {}

  /** Inserts the rows of a batch, or some of them, as one block under a token. */
  async insert(plan: PlannedBatch, token: string, some?: ReadonlySet<string>): Promise<void> {
    const key = { batchId: plan.batchId, token };
    const wanted = <T extends { readonly eventId: string }>(rows: readonly T[]): readonly T[] =>
      some === undefined ? rows : rows.filter(({ eventId }) => some.has(eventId));
    const inserting =
      plan.table === 'usage'
        ? this.parts.usageStore.insertUsage(key, wanted(plan.usageRows))
        : this.parts.usageStore.insertRejections(key, wanted(plan.rejectionRows));
    // Both are awaited, so that neither can fail unseen.
    await Promise.all([inserting, midInsert()]);
    failpoint('sink.after_insert');
  }

  /**
   * Compares the store with the plan until they agree, inserting or removing as needed. Looks before
   * it inserts.
   * @param lastToken the token of the latest insert that may have been begun
   * @param begunBy `another`: an owner that only seems dead may still insert under the token. If no
   *   row is there, that token is used first, so that the store drops the late insert; it may have
   *   been used up without leaving rows, hence the next round looks again.
   * @throws AppError `metering.insert_unverified` when they do not agree after some rounds,
   *   `clickhouse.failed` when a row is refused for its content
   */
  async run(
    owned: OwnedPartition,
    plan: PlannedBatch,
    lastToken: string,
    begunBy: 'us' | 'another',
  ): Promise<void> {
    const { usageStore, metrics } = this.parts;
    const { batchId, table } = plan;
    let token = lastToken;
    let failure: unknown;
    for (let round = 0; round < MAX_ROUNDS; round += 1) {
      await usageStore.endInsert({ batchId, token });
      const stored = await usageStore.digestOf(table, batchId, [plan.month]);
      const missing = await this.missing(plan, repairFor(plan.digest, stored));
      metrics.repairs.inc({ repair: missing.repair });
      if (missing.repair === 'none') return;
      if (missing.repair === 'replace') {
        // Fences whoever lost the partition meanwhile: the rows may be another's by now.
        await this.parts.noteToken(owned, batchId, token);
        await usageStore.deleteBatch(table, batchId);
        continue;
      }
      const reuses = round === 0 && begunBy === 'another' && missing.some === undefined;
      if (!reuses) {
        token = nextToken(batchId, token, missing.some);
        await this.parts.noteToken(owned, batchId, token);
      }
      try {
        const some = missing.some === undefined ? undefined : new Set(missing.some);
        await this.insert(plan, token, some);
      } catch (error) {
        if (isRowFault(error)) throw error;
        // The next round looks what became of it.
        failure = error;
      }
    }
    throw unverified(plan, failure);
  }

  private async missing(
    plan: PlannedBatch,
    repair: ReturnType<typeof repairFor>,
  ): Promise<{ readonly repair: typeof repair; readonly some?: readonly string[] }> {
    if (repair !== 'insert_missing') return { repair };
    const { batchId, table, month } = plan;
    const held = new Set(await this.parts.usageStore.eventIdsOf(table, batchId, [month]));
    const rows: Rows = table === 'usage' ? plan.usageRows : plan.rejectionRows;
    const some = rows.map(({ eventId }) => eventId).filter((eventId) => !held.has(eventId));
    // Rows that the plan does not know, or a row twice: nothing to build on.
    const isPart = some.length + held.size === rows.length && some.length > 0;
    return isPart ? { repair, some } : { repair: 'replace' };
  }
}

/** A place at which the request is on its way and its answer is not there yet. */
async function midInsert(): Promise<void> {
  await nextTurn();
  failpoint('sink.mid_insert');
}

function unverified(plan: PlannedBatch, cause: unknown): AppError {
  return new AppError({
    code: 'metering.insert_unverified',
    kind: 'unavailable',
    publicMessage: 'internal error',
    internalMessage: `the ledger does not take batch ${plan.batchId}`,
    retryable: true,
    cause,
  });
}
