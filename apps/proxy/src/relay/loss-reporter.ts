import { createHash } from 'node:crypto';

import { EMITTER_LOST_V1, laneOf, laneTarget, TOPICS, type EmitterRangeV1 } from '#libs/events';
import { toRfc3339, uuidOfHex, type Clock } from '#libs/kernel';
import type { LaneRange, Spool, SpoolEvent } from '#libs/spool/core';

/** Ranges remembered so that an answer given is not given again at once. */
const MOST_REMEMBERED = 4_096;

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
 * them. A range is said once per process; said again after a restart it changes nothing.
 */
export class LossReporter {
  private readonly reported = new Set<string>();

  constructor(private readonly parts: LossReporterParts) {}

  /** Resolves when the ranges' events are durable. Idempotent. @throws AppError of the spool */
  async report(ranges: readonly LaneRange[]): Promise<void> {
    for (const range of ranges) await this.reportOne(range);
  }

  private async reportOne(range: LaneRange): Promise<void> {
    const { spool, logPartitions, clock, onLost } = this.parts;
    const key = `${range.lane}/${range.from}/${range.to}`;
    if (this.reported.has(key)) return;
    await spool.append(lostEvent(range, spool.emitterId, logPartitions, clock.nowMs()));
    if (this.reported.size >= MOST_REMEMBERED) this.reported.clear();
    this.reported.add(key);
    onLost(range);
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
