import { TOPICS } from '#libs/events';
import type { EventLog, LogRecord } from '#libs/event-log/core';
import { assert, failpoint, messageOf, type Clock, type Random } from '#libs/kernel';
import type { Database, OutboxWriter, Transaction } from '#libs/platform/postgres';
import { keepDeadLetters, PartitionPositions } from '#libs/platform/postgres';
import type { Logger } from '#libs/platform/telemetry';
import { isSameDigest, type LedgerTable, type UsageStore } from '#libs/usage/core';

import { resendRequest } from '../domain/emitter-range.js';
import {
  formBatch,
  planBatch,
  RATER,
  streamsOf,
  type NotedRecords,
  type PlannedBatch,
} from '../domain/plan-batch.js';
import { ratedRecord } from '../domain/rated-message.js';
import { BatchReport } from './batch-report.js';
import { RollupWriter } from '../sealing/rollup-writer.js';
import { SealQueue } from '../sealing/seal-queue.js';
import { FinishedBatches } from './finished-batches.js';
import { InsertRepair } from './insert-repair.js';
import type { MeteringMetrics } from './metering-metrics.js';
import type { OwnedPartition } from './owned-partition.js';
import { PlanStore, type StoredPlan } from './plan-store.js';
import type { PriceCopies } from './price-copies.js';
import { isRowFault, RowFaultSearch } from './row-fault.js';
import { StreamStore } from './stream-store.js';

/** What the sink works with. */
export interface BatchSinkParts {
  readonly database: Database;
  readonly eventLog: EventLog;
  readonly usageStore: UsageStore;
  readonly prices: PriceCopies;
  readonly outbox: OutboxWriter;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: MeteringMetrics;
  /** `LOG_PARTITIONS`. */
  readonly logPartitions: number;
}

/** Largest message to the budgets, bytes; what every adapter of the log takes. */
const MAX_RATED_BYTES = 512 * 1024;
/** Records differ in size: a head is cut this much shorter than the mean says. */
const RATED_MARGIN = 0.9;
/** New gaps of one batch that are asked for at once; a worker asks for the others. */
const MOST_ASKED_AT_ONCE = 100;

/**
 * Carries batches from the log to the ledger: durable plan, insert, then one transaction with the
 * offset and everything else the batch changes. A crash at any point leaves a plan from which the
 * same batch is formed again; a row is written once.
 */
export class BatchSink {
  readonly plans = new PlanStore();
  readonly streams = new StreamStore();
  readonly seals = new SealQueue();
  /** What was carried already, by this sink or an earlier one. */
  readonly finished: FinishedBatches;
  private readonly rollup: RollupWriter;
  private readonly positions = new PartitionPositions();
  private readonly repair: InsertRepair;
  private readonly search: RowFaultSearch;
  private readonly report: BatchReport;
  /** Bytes of the last message to the budgets per record, by topic: how long a batch may be. */
  private readonly density = new Map<string, number>();
  /** Where the next range of a partition begins when its first records are gone or stepped over. */
  private readonly rangeStarts = new Map<string, { readonly at: bigint; readonly first: bigint }>();

  constructor(private readonly parts: BatchSinkParts) {
    this.rollup = new RollupWriter(parts.usageStore, parts.random);
    this.report = new BatchReport(parts.metrics, parts.logger);
    this.search = new RowFaultSearch(parts.clock);
    this.repair = new InsertRepair({
      usageStore: parts.usageStore,
      metrics: parts.metrics,
      noteToken: (owned, batchId, token) =>
        this.inTransaction(owned, (tx) => this.plans.noteToken(tx, batchId, token)),
    });
    const { repair, rollup } = this;
    this.finished = new FinishedBatches({ ...parts, repair, rollup });
  }

  /** How many records a batch of the topic can have so that its message fits; at least 1. */
  fitting(topic: string): number {
    const bytes = this.density.get(topic) ?? 0;
    return bytes === 0
      ? Infinity
      : Math.max(1, Math.floor((MAX_RATED_BYTES * RATED_MARGIN) / bytes));
  }

  /**
   * Writes one batch, unless an earlier one of the partition is unfinished or covers it. It ends
   * before the last of the records where its message to the budgets would grow beyond 512 KiB, or
   * where the ledger refuses a row: that row is looked for by halving and parked.
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
    const from = records[0]!.offset;
    const plan = await this.planFitting(owned, this.search.head(owned, records), signal);
    const prepared = await this.inTransaction(owned, async (tx, nextOffset) => {
      assert(nextOffset >= from, `offsets ${nextOffset} to ${from} would be skipped`);
      return nextOffset === from && (await this.plans.prepare(tx, plan));
    });
    if (!prepared) return this.settleEarlier(owned, signal);
    failpoint('sink.after_plan');
    return this.carry(owned, plan, records, null, signal);
  }

  /**
   * Finishes what an earlier owner, or an earlier try, left behind; takes back what was begun of a
   * batch that an operator has put the position beyond, because its records can never be read again.
   * @returns the offset to read on from, already durable
   */
  async settleEarlier(owned: OwnedPartition, signal: AbortSignal): Promise<bigint> {
    const { database } = this.parts;
    const { topic, partition } = owned;
    const unfinished = await this.plans.unfinished(database, topic, partition);
    if (unfinished !== null) {
      const nextOffset = await this.inTransaction(owned, async (_, next) => next);
      if (nextOffset > unfinished.range.last) await this.takeBack(owned, unfinished);
      else await this.recover(owned, unfinished, signal);
    }
    const through = await this.plans.doneThrough(database, topic, partition);
    const position = await this.inTransaction(owned, async (tx, nextOffset) => {
      if (through === null || nextOffset > through) return nextOffset;
      await this.positions.advance(tx, topic, partition, owned.epoch, through + 1n);
      return through + 1n;
    });
    // The budgets count a partition from 0, also when the log no longer does.
    const first = through === null ? 0n : through + 1n;
    this.rangeStarts.set(keyOf(owned), { at: position, first });
    return position;
  }

  /**
   * Inserts a prepared batch and commits it; when the ledger refuses a row, a smaller batch in its
   * place.
   * @param former the latest insert that may have been begun before; null = there is none
   */
  private async carry(
    owned: OwnedPartition,
    prepared: PlannedBatch,
    records: readonly LogRecord[],
    former: { readonly token: string; readonly begunBy: 'us' | 'another' } | null,
    signal: AbortSignal,
  ): Promise<bigint> {
    let begun = former;
    for (let plan = prepared; ;) {
      try {
        if (begun === null) await this.insert(owned, plan);
        else await this.repair.run(owned, plan, begun.token, begun.begunBy);
      } catch (error) {
        if (!isRowFault(error)) throw error;
        plan = await this.narrow(owned, plan, records, error, signal);
        begun = { token: plan.batchId, begunBy: 'us' };
        continue;
      }
      await this.rollup.write(plan, begun !== null);
      await this.commit(owned, plan);
      return plan.range.last + 1n;
    }
  }

  private async insert(owned: OwnedPartition, plan: PlannedBatch): Promise<void> {
    if (plan.digest.rows === 0) return;
    try {
      await this.repair.insert(plan, plan.batchId);
    } catch (error) {
      if (isRowFault(error)) throw error;
      this.warn(owned, 'an insert failed; the batch is verified', error);
      await this.repair.run(owned, plan, plan.batchId, 'us');
    }
  }

  /** Puts a smaller batch, or one with a row at the hold, in the place of a refused one. */
  private async narrow(
    owned: OwnedPartition,
    plan: PlannedBatch,
    records: readonly LogRecord[],
    cause: unknown,
    signal: AbortSignal,
  ): Promise<PlannedBatch> {
    const next = this.search.narrow(owned, plan, records, cause);
    this.warn(owned, `the ledger refuses a row among ${records.length} records`, cause);
    const { table, batchId, month } = plan;
    const held = await this.parts.usageStore.digestOf(table, batchId, [month]);
    // An earlier try may have stored some of the rows.
    if (held.rows > 0) await this.deleteRows(owned, table, batchId);
    const smaller = await this.plan(next.records, plan.range.first, signal, {
      dropped: null,
      refused: new Set(next.refused === null ? [] : [next.refused]),
      unbooked: new Set(next.unbooked === null ? [] : [next.unbooked]),
    });
    // The same records keep their batch id: only the rows under it are other ones.
    await this.inTransaction(owned, async (tx) => {
      await this.plans.replace(tx, plan.batchId, smaller);
    });
    return smaller;
  }

  private async planFitting(
    owned: OwnedPartition,
    records: readonly LogRecord[],
    signal: AbortSignal,
  ): Promise<PlannedBatch> {
    const start = this.rangeStarts.get(keyOf(owned));
    const first = start?.at === records[0]!.offset ? start.first : records[0]!.offset;
    for (let head = records; ;) {
      const plan = await this.plan(head, first, signal);
      const bytes = plan.rated === null ? 0 : Buffer.byteLength(JSON.stringify(plan.rated));
      this.density.set(owned.topic, bytes / head.length);
      if (bytes <= MAX_RATED_BYTES || head.length === 1) return plan;
      head = head.slice(0, Math.min(head.length - 1, this.fitting(owned.topic)));
    }
  }

  private async plan(
    records: readonly LogRecord[],
    first: bigint,
    signal: AbortSignal,
    noted?: NotedRecords,
  ): Promise<PlannedBatch> {
    const { database, logPartitions, prices } = this.parts;
    const streams = await this.streams.load(database, streamsOf(records, logPartitions));
    const forming = { logPartitions, streams, first, ...(noted === undefined ? {} : { noted }) };
    const formed = formBatch(records, forming);
    return planBatch(formed, await prices.resolve(formed.priceIds, signal));
  }

  private async recover(
    owned: OwnedPartition,
    stored: StoredPlan,
    signal: AbortSignal,
  ): Promise<void> {
    const records = await this.finished.recordsOf(stored);
    const plan = await this.plan(records, stored.range.first, signal, stored.noted);
    assert(plan.batchId === stored.batchId, 'the same bytes give the same batch');
    // The insert of a dead process may still be running in a server.
    await this.parts.usageStore.endInsert({ batchId: stored.batchId, token: stored.token });
    if (stored.rater !== RATER) {
      await this.deleteRows(owned, plan.table, plan.batchId);
      await this.inTransaction(owned, (tx) => this.plans.replaceFigures(tx, plan));
    } else {
      assert(isSameDigest(plan.digest, stored.digest), `batch ${plan.batchId} forms differently`);
    }
    const former = { token: stored.token, begunBy: 'another' } as const;
    await this.carry(owned, plan, records, former, signal);
  }

  private async takeBack(owned: OwnedPartition, stored: StoredPlan): Promise<void> {
    const { usageStore } = this.parts;
    const { batchId, range, token } = stored;
    this.warn(owned, `the unfinished batch up to offset ${range.last} is taken back`, null);
    await usageStore.endInsert({ batchId, token });
    const table = range.topic === TOPICS.requestCompleted ? 'usage' : 'rejection';
    await this.deleteRows(owned, table, batchId);
    await this.inTransaction(owned, (tx) => this.plans.remove(tx, batchId));
  }

  /** Only while the partition is ours: a successor's rows of the same batch may be sealed. */
  private async deleteRows(
    owned: OwnedPartition,
    table: LedgerTable,
    batchId: string,
  ): Promise<void> {
    await this.inTransaction(owned, async () => undefined);
    await this.parts.usageStore.deleteBatch(table, batchId);
  }

  /** The transaction in which a batch becomes history. */
  private async commit(owned: OwnedPartition, plan: PlannedBatch): Promise<void> {
    const { topic, partition, epoch } = owned;
    const { clock, outbox } = this.parts;
    const lostCount = await this.inTransaction(owned, async (tx) => {
      const isFirst = await this.plans.finish(tx, plan.batchId);
      assert(isFirst, `batch ${plan.batchId} is finished once`);
      const asked = await this.streams.save(tx, plan.streams, MOST_ASKED_AT_ONCE);
      let lost = 0n;
      for (const range of plan.lost) lost += await this.streams.closeLost(tx, range);
      await keepDeadLetters(tx, plan.deadLetters);
      await this.seals.add(tx, plan);
      const nowMs = clock.nowMs();
      await outbox.write(tx, [
        ...(plan.rated === null ? [] : [ratedRecord(plan.rated, nowMs)]),
        ...asked.map((range) => resendRequest(range, 1, nowMs)),
      ]);
      await this.positions.advance(tx, topic, partition, epoch, plan.range.last + 1n);
      failpoint('sink.before_commit');
      return lost;
    });
    failpoint('sink.after_commit');
    this.report.committed(owned, plan, lostCount);
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

  private warn({ topic, partition }: OwnedPartition, message: string, error: unknown): void {
    const reason = error === null ? undefined : messageOf(error);
    this.parts.logger.warn({ topic, partition, reason }, message);
  }
}

function keyOf({ topic, partition }: OwnedPartition): string {
  return `${topic}/${partition}`;
}
