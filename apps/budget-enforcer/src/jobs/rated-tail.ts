import type { AppliedPlace, RatedHole } from '#libs/budgets/adapters';
import type { FinishedThrough } from '#libs/usage/core';

/** A source partition that is behind what metering has finished. */
interface Standing {
  readonly nextOffset: bigint;
  /** Since when, monotonic milliseconds. */
  readonly sinceMs: number;
  /** It was seen standing still for the patience, with nothing left to read. */
  readonly isMissing: boolean;
}

/**
 * Finds rated batches that are missing at the end, where no later one shows that they are: metering has
 * finished them, all is read that the log has, and what is settled does not come any nearer. A partition that moves is only
 * behind. One that stood still for the patience stays a hole until all is settled that metering had
 * finished, since what was lost may be more than one answer brings.
 */
export class RatedTail {
  private finished: readonly FinishedThrough[] = [];
  /** By source partition. */
  private readonly standing = new Map<string, Standing>();

  /** @param patienceMs how long a partition may stand still before something is missing, milliseconds */
  constructor(private readonly patienceMs: number) {}

  /** What metering says now; it stays true until it says something newer. */
  learn(finished: readonly FinishedThrough[]): void {
    this.finished = finished;
  }

  /** Nothing could be seen for a while: who stands still shows anew. */
  lookAway(): void {
    this.standing.clear();
  }

  /**
   * Every source partition that is behind, with how long it has stood still.
   * @param applied what is settled; a partition that is absent begins at 0
   * @param nowMs monotonic, milliseconds
   * @param isRead whether all is read that the log has of a partition: what is unread is not missing
   */
  async holes(
    applied: readonly AppliedPlace[],
    nowMs: number,
    isRead: (partition: number) => Promise<boolean>,
  ): Promise<readonly RatedHole[]> {
    const nextOf = new Map(applied.map((place) => [keyOf(place), place.nextOffset]));
    const holes: RatedHole[] = [];
    for (const place of this.finished) {
      const { topic, partition } = place;
      const fromOffset = nextOf.get(keyOf(place)) ?? 0n;
      if (fromOffset >= BigInt(place.nextOffset)) {
        this.standing.delete(keyOf(place));
        continue;
      }
      const seen = this.seen(keyOf(place), fromOffset, nowMs);
      const isDue = nowMs - seen.sinceMs >= this.patienceMs;
      const isMissing = seen.isMissing || (isDue && (await isRead(partition)));
      const sinceMs = isDue && !isMissing ? nowMs : seen.sinceMs;
      this.standing.set(keyOf(place), { nextOffset: fromOffset, sinceMs, isMissing });
      holes.push({ topic, partition, fromOffset, waitingMs: nowMs - sinceMs });
    }
    return holes;
  }

  private seen(key: string, nextOffset: bigint, nowMs: number): Standing {
    const former = this.standing.get(key);
    if (former !== undefined && (former.isMissing || former.nextOffset === nextOffset)) {
      return former;
    }
    return { nextOffset, sinceMs: nowMs, isMissing: false };
  }
}

function keyOf({
  topic,
  partition,
}: {
  readonly topic: string;
  readonly partition: number;
}): string {
  return `${topic}/${partition}`;
}
