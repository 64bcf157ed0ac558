import { readAppliedPlaces, readRatedHoles, type RatedHole } from '#libs/budgets/adapters';
import type { EventLog } from '#libs/event-log/core';
import { TOPICS } from '#libs/events';
import { messageOf, PeriodicWorker, type Clock } from '#libs/kernel';
import type { Database } from '#libs/platform/postgres';
import type { Logger } from '#libs/platform/telemetry';
import type { RatedReplay } from '#libs/usage/core';

import type { BudgetAlarms } from '../budget-alarms.js';
import type { BudgetMetrics } from '../budget-metrics.js';
import { ReplayPace } from './replay-pace.js';
import { RatedTail } from './rated-tail.js';

/** Pause between looks, milliseconds; shorter than the shortest patience. */
const LOOK_EVERY_MS = 1_000;
/** Least time between two questions to metering how far it is, milliseconds. */
const COMPARE_EVERY_MS = 30_000;

/** What the worker is built from. */
export interface RatedReplayWorkerParts {
  readonly database: Database;
  readonly eventLog: Pick<EventLog, 'bounds'>;
  readonly replay: RatedReplay;
  readonly clock: Clock;
  readonly logger: Pick<Logger, 'warn'>;
  readonly metrics: Pick<BudgetMetrics, 'replayAsked' | 'unfilled'>;
  readonly alarms: Pick<BudgetAlarms, 'unfilled'>;
  /** How long rated batches may wait behind a missing one before it is asked for, milliseconds. */
  readonly patienceMs: number;
}

/**
 * Asks metering to send a missing rated batch again, and asks again as long as it is missing, at the
 * pace of `ReplayPace`. A batch is missing when a later one waits behind it, or when metering has
 * finished it and nothing of its partition comes (`RatedTail`). Runs in every instance: what comes
 * twice is applied once.
 */
export class RatedReplayWorker extends PeriodicWorker {
  private readonly pace: ReplayPace;
  private readonly tail: RatedTail;
  /** When metering is asked next how far it is, monotonic milliseconds. */
  private compareAtMs = -Infinity;

  constructor(private readonly parts: RatedReplayWorkerParts) {
    super();
    this.pace = new ReplayPace(parts.patienceMs);
    this.tail = new RatedTail(parts.patienceMs);
  }

  protected async pass(): Promise<void> {
    const { clock, metrics, alarms } = this.parts;
    await this.compare(clock.monotonicMs());
    const holes = await this.holes();
    for (const hole of this.pace.due(holes, clock.monotonicMs())) await this.ask(hole);
    const vain = this.pace.vain(holes);
    metrics.unfilled(vain.length);
    alarms.unfilled(vain);
  }

  protected failed(error: unknown): void {
    this.tail.lookAway();
    const reason = messageOf(error);
    this.parts.logger.warn({ reason }, 'looking for missing rated batches failed');
  }

  protected pauseMs(): number {
    return Math.min(LOOK_EVERY_MS, this.parts.patienceMs);
  }

  /** Holes that are seen by what waits behind them, and those at the end of other partitions. */
  private async holes(): Promise<readonly RatedHole[]> {
    const { database, clock } = this.parts;
    const parked = await readRatedHoles(database);
    const applied = await readAppliedPlaces(database);
    const seen = new Set(parked.map(({ topic, partition }) => `${topic}/${partition}`));
    const nowMs = clock.monotonicMs();
    const tails = await this.tail.holes(applied, nowMs, (partition) => this.isRead(partition));
    const others = tails.filter(({ topic, partition }) => !seen.has(`${topic}/${partition}`));
    return [...parked, ...others];
  }

  /** Of `usage.rated`, which has the partitions of its source. */
  private async isRead(partition: number): Promise<boolean> {
    const { database, eventLog } = this.parts;
    // A partition that cannot be read is told by its reader, and holds up no other.
    const bounds = await eventLog.bounds(TOPICS.usageRated, partition).catch(() => null);
    if (bounds === null) return false;
    const { earliest, next } = bounds;
    const { rows } = await database.query<{ next_offset: bigint }>(
      'SELECT next_offset FROM log_position WHERE topic = $1 AND partition = $2',
      [TOPICS.usageRated, partition],
    );
    return earliest === next || (rows[0]?.next_offset ?? 0n) >= next;
  }

  private async compare(nowMs: number): Promise<void> {
    const { replay, logger, patienceMs } = this.parts;
    if (nowMs < this.compareAtMs) return;
    this.compareAtMs = nowMs + Math.max(COMPARE_EVERY_MS, patienceMs);
    try {
      this.tail.learn(await replay.finishedThrough());
    } catch (error) {
      // What it said before stays true. A release before this question does not know it.
      const reason = messageOf(error);
      logger.warn({ reason }, 'metering does not say how far its rated batches reach');
    }
  }

  private async ask(hole: RatedHole): Promise<void> {
    const { replay, logger, metrics } = this.parts;
    const { topic, partition, fromOffset } = hole;
    const detail = { topic, partition, from_offset: String(fromOffset) };
    try {
      const through = await replay.replay(topic, partition, String(fromOffset));
      this.pace.answered(hole, through === null ? null : BigInt(through));
      metrics.replayAsked('asked');
      logger.warn(detail, 'a rated batch is missing and was asked for');
    } catch (error) {
      metrics.replayAsked('failed');
      logger.warn(
        { ...detail, reason: messageOf(error) },
        'a rated batch is missing and cannot be asked for; it will be tried again',
      );
    }
  }
}
