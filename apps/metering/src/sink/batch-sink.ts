import { eventHeaders, TOPICS, USAGE_RATED_V1 } from '#libs/events';
import type { EventLog, LogRecord } from '#libs/event-log/core';
import { AppError, assert, failpoint, messageOf, toRfc3339, type Clock } from '#libs/kernel';
import type { Database, OutboxRecord, OutboxWriter, Transaction } from '#libs/platform/postgres';
import { keepDeadLetters, PartitionPositions } from '#libs/platform/postgres';
import type { Logger } from '#libs/platform/telemetry';
import { isSameDigest, type UsageStore } from '#libs/usage/core';

import { inputSha256, type BatchRange } from '../domain/batch-identity.js';
import { formBatch, planBatch, RATER, streamsOf, type PlannedBatch } from '../domain/plan-batch.js';
import { InsertRepair } from './insert-repair.js';
import type { MeteringMetrics } from './metering-metrics.js';
import type { OwnedPartition } from './owned-partition.js';
import { PlanStore, type StoredPlan } from './plan-store.js';
import type { PriceCopies } from './price-copies.js';
import { StreamStore } from './stream-store.js';

/** What the sink works with. */
export interface BatchSinkParts {
  readonly database: Database;
  readonly eventLog: EventLog;
  readonly usageStore: UsageStore;
  readonly prices: PriceCopies;
  readonly outbox: OutboxWriter;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: MeteringMetrics;
  /** `LOG_PARTITIONS`. */
  readonly logPartitions: number;
}

/** Largest message to the budgets, bytes; what every adapter of the log takes. */
const MAX_RATED_BYTES = 512 * 1024;
/** Records differ in size: a head is cut this much shorter than the mean says. */
const RATED_MARGIN = 0.9;
/** Bounds of one read while a batch is formed again. */
const READ_LIMIT = { maxRecords: 5_000, maxBytes: 16 * 1024 * 1024 };

/**
 * Carries batches from the log to the ledger: durable plan, insert, then one transaction with the
 * offset and everything else the batch changes. A crash at any point leaves a plan from which the
 * same batch is formed again; a row is written once.
 */
export class BatchSink {
  readonly plans = new PlanStore();
  readonly streams = new StreamStore();
  private readonly positions = new PartitionPositions();
  private readonly repair: InsertRepair;

  constructor(private readonly parts: BatchSinkParts) {
    this.repair = new InsertRepair({
      usageStore: parts.usageStore,
      metrics: parts.metrics,
      noteToken: (owned, batchId, token) =>
        this.inTransaction(owned, (tx) => this.plans.noteToken(tx, batchId, token)),
    });
  }

  /**
   * Writes one batch, unless an earlier one of the partition is unfinished or covers it. It ends
   * before the last of the records where its message to the budgets would grow beyond 512 KiB.
   * @param records as `cutBatch` yields them, not empty
   * @returns the offset to read on from, already durable
   * @throws AppError `log.fenced` when the partition was taken over; whatever its engines throw: the
   *   caller hands the records over again
   */
  async process(
    owned: OwnedPartition,
    records: readonly LogRecord[],
    signal: AbortSignal,
  ): Promise<bigint> {
    const plan = await this.planFitting(records, signal);
    const { first } = plan.range;
    const prepared = await this.inTransaction(owned, async (tx, nextOffset) => {
      assert(nextOffset >= first, `offsets ${nextOffset} to ${first} would be skipped`);
      return nextOffset === first && (await this.plans.prepare(tx, plan));
    });
    if (!prepared) return this.settleEarlier(owned, signal);
    failpoint('sink.after_plan');
    if (plan.digest.rows > 0) {
      try {
        await this.repair.insert(plan, plan.batchId);
      } catch (error) {
        this.warn(owned, 'an insert failed; the batch is verified', error);
        await this.repair.run(owned, plan, plan.batchId, 'us');
      }
    }
    await this.commit(owned, plan);
    return plan.range.last + 1n;
  }

  /**
   * Finishes what an earlier owner, or an earlier try, left behind.
   * @returns the offset to read on from, already durable
   */
  async settleEarlier(owned: OwnedPartition, signal: AbortSignal): Promise<bigint> {
    const { database } = this.parts;
    const unfinished = await this.plans.unfinished(database, owned.topic, owned.partition);
    if (unfinished !== null) await this.recover(owned, unfinished, signal);
    const through = await this.plans.doneThrough(database, owned.topic, owned.partition);
    return this.inTransaction(owned, async (tx, nextOffset) => {
      if (through === null || nextOffset > through) return nextOffset;
      await this.positions.advance(tx, owned.topic, owned.partition, owned.epoch, through + 1n);
      return through + 1n;
    });
  }

  /**
   * Looks whether the store still holds a finished batch, and inserts again what it lost (a power
   * failure can take parts that were acknowledged).
   */
  async verifyDone(owned: OwnedPartition, stored: StoredPlan, signal: AbortSignal): Promise<void> {
    const table = stored.range.topic === TOPICS.requestCompleted ? 'usage' : 'rejection';
    const held = await this.parts.usageStore.digestOf(table, stored.batchId, [stored.month]);
    if (isSameDigest(held, stored.digest)) return;
    const records = await this.readAgain(stored);
    const { logPartitions, prices } = this.parts;
    const formed = formBatch(records, { by: 'plan', dropped: stored.dropped }, logPartitions);
    const plan = planBatch(formed, await prices.resolve(formed.priceIds, signal));
    assert(isSameDigest(plan.digest, stored.digest), `batch ${stored.batchId} forms differently`);
    this.warn(owned, 'the ledger lost rows of a finished batch; they are inserted again', null);
    await this.repair.run(owned, plan, stored.token, 'us');
  }

  private async planFitting(
    records: readonly LogRecord[],
    signal: AbortSignal,
  ): Promise<PlannedBatch> {
    for (let head = records; ;) {
      const plan = await this.plan(head, signal);
      const bytes = plan.rated === null ? 0 : Buffer.byteLength(JSON.stringify(plan.rated));
      if (bytes <= MAX_RATED_BYTES || head.length === 1) return plan;
      const fitting = Math.floor((head.length * MAX_RATED_BYTES * RATED_MARGIN) / bytes);
      head = head.slice(0, Math.max(1, fitting));
    }
  }

  private async plan(records: readonly LogRecord[], signal: AbortSignal): Promise<PlannedBatch> {
    const { database, logPartitions, prices } = this.parts;
    const streams = await this.streams.load(database, streamsOf(records, logPartitions));
    const formed = formBatch(records, { by: 'streams', streams }, logPartitions);
    return planBatch(formed, await prices.resolve(formed.priceIds, signal));
  }

  private async recover(
    owned: OwnedPartition,
    stored: StoredPlan,
    signal: AbortSignal,
  ): Promise<void> {
    const plan = await this.plan(await this.readAgain(stored), signal);
    assert(plan.batchId === stored.batchId, 'the same bytes give the same batch');
    // The insert of a dead process may still be running in a server.
    await this.parts.usageStore.endInsert({ batchId: stored.batchId, token: stored.token });
    if (stored.rater !== RATER) {
      await this.parts.usageStore.deleteBatch(plan.table, plan.batchId);
      await this.inTransaction(owned, (tx) => this.plans.replaceFigures(tx, plan));
    } else {
      assert(isSameDigest(plan.digest, stored.digest), `batch ${plan.batchId} forms differently`);
    }
    await this.repair.run(owned, plan, stored.token, 'another');
    await this.commit(owned, plan);
  }

  /** Reads exactly the range of a plan. @throws AppError `metering.log_rewritten` */
  private async readAgain(stored: StoredPlan): Promise<readonly LogRecord[]> {
    const { topic, partition, first, last } = stored.range;
    const records: LogRecord[] = [];
    for (let from = first; from <= last;) {
      const read = await this.parts.eventLog.read(topic, partition, from, READ_LIMIT);
      if (read.length === 0) throw rewritten(stored.range);
      records.push(...read.filter(({ offset }) => offset <= last));
      from = read.at(-1)!.offset + 1n;
    }
    if (!inputSha256(records).equals(stored.inputSha256)) throw rewritten(stored.range);
    return records;
  }

  /** The transaction in which a batch becomes history. */
  private async commit(owned: OwnedPartition, plan: PlannedBatch): Promise<void> {
    const { topic, partition, epoch } = owned;
    await this.inTransaction(owned, async (tx) => {
      const isFirst = await this.plans.finish(tx, plan.batchId);
      assert(isFirst, `batch ${plan.batchId} is finished once`);
      await this.streams.save(tx, plan.streams);
      await keepDeadLetters(tx, plan.deadLetters);
      if (plan.rated !== null) await this.parts.outbox.write(tx, [this.ratedRecord(plan)]);
      await this.positions.advance(tx, topic, partition, epoch, plan.range.last + 1n);
      failpoint('sink.before_commit');
    });
    failpoint('sink.after_commit');
    this.count(owned, plan);
  }

  private ratedRecord(plan: PlannedBatch): OutboxRecord {
    const headers = eventHeaders({
      id: plan.batchId,
      type: USAGE_RATED_V1,
      service: 'metering',
      time: toRfc3339(this.parts.clock.nowMs()),
      subject: plan.batchId,
      partitionKey: String(plan.range.partition),
    });
    return {
      topic: TOPICS.usageRated,
      partition: plan.range.partition,
      key: plan.batchId,
      headers: { ...headers },
      value: Buffer.from(JSON.stringify(plan.rated)),
    };
  }

  private inTransaction<T>(
    owned: OwnedPartition,
    work: (tx: Transaction, nextOffset: bigint) => Promise<T>,
  ): Promise<T> {
    const { topic, partition, epoch } = owned;
    return this.parts.database.transaction(async (tx) =>
      work(tx, await this.positions.assertEpoch(tx, topic, partition, epoch)),
    );
  }

  private count({ topic }: OwnedPartition, plan: PlannedBatch): void {
    const { metrics, logger } = this.parts;
    metrics.rows.inc({ topic }, plan.digest.rows);
    metrics.repeats.inc({ topic }, plan.dropped.length);
    for (const { faultClass, error, record } of plan.deadLetters) {
      metrics.deadLetters.inc({ topic, class: faultClass });
      const offset = record.offset.toString();
      logger.error({ topic, offset, class: faultClass, error }, 'a record was parked');
    }
    for (const eventId of plan.mismatches) {
      metrics.costMismatches.inc();
      logger.error({ eventId }, 'the proxy stated another cost; ours stands');
    }
    for (const { before, after } of plan.streams) {
      const opened = after.gaps.filter(({ fromSeq }) => fromSeq > before.highSeq);
      if (opened.length > 0) metrics.gaps.inc(opened.length);
    }
  }

  private warn({ topic, partition }: OwnedPartition, message: string, error: unknown): void {
    const reason = error === null ? undefined : messageOf(error);
    this.parts.logger.warn({ topic, partition, reason }, message);
  }
}

function rewritten({ topic, partition, first, last }: BatchRange): AppError {
  return new AppError({
    code: 'metering.log_rewritten',
    kind: 'internal',
    publicMessage: 'internal error',
    internalMessage: `offsets ${first} to ${last} of ${topic}/${partition} are not what was planned`,
  });
}
