import type { EventLog } from '#libs/event-log/core';
import { partitionCount, TOPICS } from '#libs/events';
import { AppError, toRfc3339, type Clock, type Random } from '#libs/kernel';
import type { Database } from '#libs/platform/postgres';
import { isSameDigest, type BatchDigest, type UsageStore } from '#libs/usage/core';

import type { PlannedBatch } from '../domain/plan-batch.js';
import { RollupWriter } from '../sealing/rollup-writer.js';
import type { BatchSink } from '../sink/batch-sink.js';
import { InsertRepair } from '../sink/insert-repair.js';
import type { MeteringMetrics } from '../sink/metering-metrics.js';
import type { OwnedPartition } from '../sink/owned-partition.js';
import type { StoredPlan } from '../sink/plan-store.js';
import {
  RebuildWay,
  type AskedRange,
  type PlannedRebuild,
  type RebuildStep,
} from './rebuild-plan.js';
import type { RebuildDifference, RebuildFigures } from './rebuild-report.js';
import type { Rebuild } from './rebuild-store.js';

/** What ledger rows are made anew from. */
export interface LedgerRebuildParts {
  readonly database: Database;
  readonly eventLog: EventLog;
  readonly usageStore: UsageStore;
  readonly sink: BatchSink;
  readonly metrics: MeteringMetrics;
  readonly clock: Clock;
  readonly random: Random;
  /** `LOG_PARTITIONS`. */
  readonly logPartitions: number;
}

/** Batches of one step. */
const STEP_BATCHES = 20;
const SOURCES = [TOPICS.requestCompleted, TOPICS.requestRejected] as const;
/** Finished batches with rows, with the time their first record was recorded at. */
const BATCHES = 'seal_queue q JOIN sink_plan p USING (batch_id, topic, partition)';

interface BatchPlace extends Record<string, unknown> {
  readonly topic: string;
  readonly partition: number;
  readonly first_offset: bigint;
}

/**
 * Makes ledger rows anew from the log, batch by batch as they were planned, and compares row count,
 * sums and XOR with what is stored. Where they differ, and only when asked to, the stored batch is
 * made whole in the same way as after an uncertain insert.
 */
export class LedgerRebuild extends RebuildWay {
  private readonly repair: InsertRepair;
  private readonly rollup: RollupWriter;

  constructor(private readonly parts: LedgerRebuildParts) {
    super();
    this.rollup = new RollupWriter(parts.usageStore, parts.random);
    this.repair = new InsertRepair({
      usageStore: parts.usageStore,
      metrics: parts.metrics,
      // Nobody but a rebuild, of which one runs, and the verification at a start writes to a finished
      // batch; both derive the next token from the plan, so that the store drops the second of two.
      noteToken: (_, batchId, token) =>
        parts.database.transaction((tx) => parts.sink.plans.noteToken(tx, batchId, token)),
    });
  }

  /** @throws AppError `rebuild.beyond_retention` (conflict) when the log no longer reaches back so far */
  async plan({ fromMs, toMs }: AskedRange): Promise<PlannedRebuild> {
    const { clock, database } = this.parts;
    const reachMs = await this.reachMs();
    if (fromMs !== null && reachMs !== null && fromMs < reachMs) throw beyondRetention(reachMs);
    const to = toMs ?? clock.nowMs() + 1;
    const from = fromMs ?? Math.min(reachMs ?? 0, to - 1);
    const { rows } = await database.query<{ n: number }>(
      `SELECT count(*)::integer AS n FROM ${BATCHES}
       WHERE recorded_from >= $1 AND recorded_from < $2`,
      [toRfc3339(from), toRfc3339(to)],
    );
    return { fromMs: from, toMs: to, total: rows[0]?.n ?? 0 };
  }

  async step(rebuild: Rebuild, signal: AbortSignal): Promise<RebuildStep> {
    const { database, sink } = this.parts;
    const places = await this.placesAfter(rebuild);
    const differences: RebuildDifference[] = [];
    let compared = 0;
    let done = 0;
    for (const { topic, partition, first_offset: first } of places) {
      if (signal.aborted) break;
      const [stored] = await sink.plans.doneFrom(database, topic, partition, first, 1);
      if (stored !== undefined && stored.range.first === first) {
        const difference = await this.compare(stored, rebuild.isApplied, signal);
        if (difference !== null) differences.push(difference);
        compared += stored.digest.rows;
      }
      done += 1;
    }
    const last = places[done - 1];
    const isLast = done === places.length && places.length < STEP_BATCHES;
    const next = last === undefined ? rebuild.nextStep : placeText(last);
    return { next: isLast ? null : (next ?? ''), done, compared, differences };
  }

  private async compare(
    stored: StoredPlan,
    isApplied: boolean,
    signal: AbortSignal,
  ): Promise<RebuildDifference | null> {
    const { usageStore, sink } = this.parts;
    const { batchId, month, range } = stored;
    const table = range.topic === TOPICS.requestCompleted ? 'usage' : 'rejection';
    const held = await usageStore.digestOf(table, batchId, [month]);
    let formed: PlannedBatch;
    try {
      formed = await sink.finished.formAgain(stored, signal);
    } catch (error) {
      const outcome = outcomeOf(error);
      if (outcome === null) throw error;
      // Rated by the rules of then, and all there.
      if (isOfOtherRules(error) && isSameDigest(held, stored.digest)) return null;
      return { subject: batchId, outcome, stored: figuresOf(held), rebuilt: null };
    }
    if (isSameDigest(held, formed.digest)) return null;
    if (isApplied) {
      const owned: OwnedPartition = { topic: range.topic, partition: range.partition, epoch: 0n };
      await this.repair.run(owned, formed, stored.token, 'us');
      await this.rollup.write(formed, true);
    }
    return {
      subject: batchId,
      outcome: isApplied ? 'repaired' : 'reported',
      stored: figuresOf(held),
      rebuilt: figuresOf(formed.digest),
    };
  }

  private async placesAfter(rebuild: Rebuild): Promise<readonly BatchPlace[]> {
    const [topic, partition, first] = readPlace(rebuild.nextStep);
    const { rows } = await this.parts.database.query<BatchPlace>(
      `SELECT topic, partition, first_offset FROM ${BATCHES}
       WHERE recorded_from >= $1 AND recorded_from < $2
         AND (topic, partition, first_offset) > ($3, $4::integer, $5::bigint)
       ORDER BY topic, partition, first_offset LIMIT $6`,
      [toRfc3339(rebuild.fromMs), toRfc3339(rebuild.toMs), topic, partition, first, STEP_BATCHES],
    );
    return rows;
  }

  /** From when on every batch can be made anew; null = all ever written. */
  private async reachMs(): Promise<number | null> {
    const { eventLog, logPartitions } = this.parts;
    const times = await Promise.all(
      SOURCES.flatMap((topic) =>
        Array.from({ length: partitionCount(topic, logPartitions) }, async (_, partition) => {
          const { earliest } = await eventLog.bounds(topic, partition);
          return this.reachOf(topic, partition, earliest);
        }),
      ),
    );
    const known = times.filter((timeMs) => timeMs !== null);
    return known.length === 0 ? null : Math.max(...known);
  }

  private async reachOf(
    topic: string,
    partition: number,
    earliest: bigint,
  ): Promise<number | null> {
    const { rows } = await this.parts.database.query<{
      gone: Date | null;
      first: bigint | null;
      oldest: Date | null;
    }>(
      `SELECT max(recorded_from) FILTER (WHERE coalesce(read_from, first_offset) < $3) AS gone,
         min(first_offset) AS first, min(recorded_from) AS oldest
       FROM ${BATCHES} WHERE topic = $1 AND partition = $2`,
      [topic, partition, earliest],
    );
    const row = rows[0];
    if (row?.gone !== null && row?.gone !== undefined) return row.gone.getTime() + 1;
    // The plans of earlier batches are gone, and with them what the batches were.
    const isPruned = row !== undefined && row.first !== null && row.first > 0n;
    return isPruned ? (row.oldest?.getTime() ?? null) : null;
  }
}

function figuresOf({ rows, chargePicoUsd }: BatchDigest): RebuildFigures {
  return { rows, chargePicoUsd };
}

/** What an error says of a batch; null for one that says nothing of it. */
function outcomeOf(error: unknown): RebuildDifference['outcome'] | null {
  if (!(error instanceof AppError)) return null;
  if (error.code === 'internal.assertion' || isOfOtherRules(error)) return 'formed_otherwise';
  const isGone = ['metering.log_rewritten', 'event_log.out_of_range'].includes(error.code);
  return isGone ? 'unreadable' : null;
}

function isOfOtherRules(error: unknown): boolean {
  return error instanceof AppError && error.code === 'metering.rater_changed';
}

function placeText({ topic, partition, first_offset: first }: BatchPlace): string {
  return `${topic}/${partition}/${first}`;
}

function readPlace(text: string | null): readonly [string, string, string] {
  const [topic = '', partition = '-1', first = '-1'] = (text ?? '').split('/');
  return [topic, partition === '' ? '-1' : partition, first];
}

function beyondRetention(reachMs: number): AppError {
  return new AppError({
    code: 'rebuild.beyond_retention',
    kind: 'conflict',
    publicMessage:
      'the event log no longer holds everything of this time: ledger rows can be made anew from ' +
      `${toRfc3339(reachMs)} on`,
    details: { from: toRfc3339(reachMs) },
  });
}
