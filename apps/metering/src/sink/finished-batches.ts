import { TOPICS } from '#libs/events';
import type { EventLog, LogRecord } from '#libs/event-log/core';
import { assert } from '#libs/kernel';
import type { Logger } from '#libs/platform/telemetry';
import { isSameDigest, type UsageStore } from '#libs/usage/core';

import { inputSha256 } from '../domain/batch-identity.js';
import { formBatch, planBatch, RATER, type PlannedBatch } from '../domain/plan-batch.js';
import type { RollupWriter } from '../sealing/rollup-writer.js';
import type { InsertRepair } from './insert-repair.js';
import type { OwnedPartition } from './owned-partition.js';
import { logRewritten, raterChanged } from './plan.error.js';
import type { StoredPlan } from './plan-store.js';
import type { PriceCopies } from './price-copies.js';

/** What finished batches are looked after with. */
export interface FinishedBatchesParts {
  readonly eventLog: Pick<EventLog, 'bounds' | 'read'>;
  readonly usageStore: Pick<UsageStore, 'digestsOf'>;
  readonly prices: Pick<PriceCopies, 'resolve'>;
  readonly repair: Pick<InsertRepair, 'run'>;
  readonly rollup: Pick<RollupWriter, 'write'>;
  readonly logger: Pick<Logger, 'warn'>;
  /** `LOG_PARTITIONS`. */
  readonly logPartitions: number;
}

/** Batches that are compared by one read. */
const MOST_VERIFIED_AT_ONCE = 1_000;
/** Bounds of one read while a batch is formed again. */
const READ_LIMIT = { maxRecords: 5_000, maxBytes: 16 * 1024 * 1024 };

/** Batches whose plan is durable: compared with what the ledger holds, and formed again from the log. */
export class FinishedBatches {
  constructor(private readonly parts: FinishedBatchesParts) {}

  /**
   * Looks whether the store still holds finished batches of the partition, and inserts again what it
   * lost (a power failure can take parts that were acknowledged). One read for hundreds of batches:
   * a start waits for this.
   * @throws AppError `metering.rater_changed` when rows are missing that only other rules can make
   */
  async verify(
    owned: OwnedPartition,
    plans: readonly StoredPlan[],
    signal: AbortSignal,
  ): Promise<void> {
    const { topic, partition } = owned;
    const { usageStore, repair, rollup, logger } = this.parts;
    const table = topic === TOPICS.requestCompleted ? 'usage' : 'rejection';
    for (let from = 0; from < plans.length; from += MOST_VERIFIED_AT_ONCE) {
      const some = plans.slice(from, from + MOST_VERIFIED_AT_ONCE);
      const held = await usageStore.digestsOf(
        table,
        some.map(({ batchId }) => batchId),
        [...new Set(some.map(({ month }) => month))],
      );
      for (const stored of some) {
        const found = held.get(stored.batchId);
        if (found !== undefined && isSameDigest(found, stored.digest)) continue;
        const plan = await this.formAgain(stored, signal);
        logger.warn(
          { topic, partition },
          'the ledger lost rows of a finished batch; they are inserted again',
        );
        await repair.run(owned, plan, stored.token, 'us');
        await rollup.write(plan, true);
      }
    }
  }

  /**
   * Forms a finished batch again, from the same records; what it says of streams means nothing.
   * @throws AppError `metering.log_rewritten`, `event_log.out_of_range`, `metering.rater_changed`
   */
  async formAgain(stored: StoredPlan, signal: AbortSignal): Promise<PlannedBatch> {
    const { logPartitions, prices } = this.parts;
    const { noted, range } = stored;
    const records = await this.recordsOf(stored);
    const formed = formBatch(records, { logPartitions, streams: [], first: range.first, noted });
    const plan = planBatch(formed, await prices.resolve(formed.priceIds, signal));
    const isSame = isSameDigest(plan.digest, stored.digest);
    // What was sealed and told to the budgets is never rated anew.
    if (!isSame && stored.rater !== RATER) throw raterChanged(stored, RATER);
    assert(isSame, `batch ${stored.batchId} forms differently`);
    return plan;
  }

  /** Reads exactly the records of a plan. @throws AppError `metering.log_rewritten` */
  async recordsOf(stored: StoredPlan): Promise<readonly LogRecord[]> {
    const { topic, partition, last } = stored.range;
    const { readFrom } = stored;
    const records: LogRecord[] = [];
    // Plans that do not say where they were read from can begin before the log did; the hash tells.
    const { earliest } = await this.parts.eventLog.bounds(topic, partition);
    for (let from = readFrom > earliest ? readFrom : earliest; from <= last;) {
      const read = await this.parts.eventLog.read(topic, partition, from, READ_LIMIT);
      if (read.length === 0) throw logRewritten(stored.range);
      records.push(...read.filter(({ offset }) => offset <= last));
      from = read.at(-1)!.offset + 1n;
    }
    if (!inputSha256(records).equals(stored.inputSha256)) throw logRewritten(stored.range);
    return records;
  }
}
