import { createHash } from 'node:crypto';

import { EMITTER_LOST_V1, laneOf, laneTarget, TOPICS, type EmitterRangeV1 } from '#libs/events';
import { toRfc3339, uuidOfHex, type Clock } from '#libs/kernel';
import type { LaneRange, Spool, SpoolEvent } from '#libs/spool/core';

/** Ranges remembered so that an answer given is not given again at once. */
const MOST_REMEMBERED = 4_096;
/** A range is not said again for so long, milliseconds; whoever misses it asks less often. */
const REPEAT_MS = 20_000;

/** What the reporter works on. */
export interface LossReporterParts {
  readonly spool: Pick<Spool, 'append' | 'emitterId'>;
  /** `LOG_PARTITIONS`. */
  readonly logPartitions: number;
  readonly clock: Clock;
  /** Told of each range once; an operator has to know. */
  readonly onLost: (range: LaneRange) => void;
}

/**
 * Says in the emitter's own stream which of its records are gone, so that readers stop waiting for
 * them. A range may be said before its reader has met the gap, when the two are in different lanes:
 * that changes nothing there, and the reader asks. So it is said again, but not at once.
 */
export class LossReporter {
  /** When each range was said last, monotonic milliseconds. */
  private readonly reported = new Map<string, number>();

  constructor(private readonly parts: LossReporterParts) {}

  /** Resolves when the ranges' events are durable. Safe to repeat. @throws AppError of the spool */
  async report(ranges: readonly LaneRange[]): Promise<void> {
    for (const range of ranges) await this.reportOne(range);
  }

  private async reportOne(range: LaneRange): Promise<void> {
    const { spool, logPartitions, clock, onLost } = this.parts;
    const key = `${range.lane}/${range.from}/${range.to}`;
    const saidAtMs = this.reported.get(key);
    if (saidAtMs !== undefined && clock.monotonicMs() - saidAtMs < REPEAT_MS) return;
    await spool.append(lostEvent(range, spool.emitterId, logPartitions, clock.nowMs()));
    if (this.reported.size >= MOST_REMEMBERED) this.reported.clear();
    this.reported.set(key, clock.monotonicMs());
    if (saidAtMs === undefined) onLost(range);
  }
}

/** The event about a range; its id follows from the range, so that a repeat is known as one. */
export function lostEvent(
  { lane, from, to }: LaneRange,
  emitterId: string,
  logPartitions: number,
  atMs: number,
): SpoolEvent {
  const range: EmitterRangeV1 = {
    emitter_id: emitterId,
    lane,
    from_seq: String(from),
    to_seq: String(to),
  };
  const { partition } = laneTarget(lane, logPartitions);
  const name = `lost/${emitterId}/${lane}/${from}/${to}`;
  return {
    lane: laneOf(TOPICS.requestCompleted, partition, logPartitions),
    eventId: uuidOfHex(createHash('sha256').update(name).digest('hex').slice(0, 32)),
    body: Buffer.from(JSON.stringify(range)),
    headers: {
      ce_type: EMITTER_LOST_V1,
      ce_time: toRfc3339(atMs),
      ce_subject: emitterId,
    },
    closes: null,
  };
}
