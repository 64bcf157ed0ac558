import type { RatedHole } from '#libs/budgets/adapters';

/** Longest pause between two requests for the same hole, milliseconds: an hour. */
const LONGEST_PAUSE_MS = 3_600_000;
/** Answered requests after which a hole that is still there needs a person. */
const VAIN_REQUESTS = 3;

/** A hole that was asked for. */
interface AskedHole {
  readonly fromOffset: bigint;
  /** Of the latest request, monotonic milliseconds. */
  readonly askedAtMs: number;
  /** Requests that were answered and yet left it. */
  readonly answered: number;
  /** The source offset after what the answer to the latest request brings; null = unanswered, or unknown. */
  readonly through: bigint | null;
}

/**
 * When each missing rated batch is asked for. What metering sends may be as unreadable as before, and
 * each time up to 200 messages come through the log: so the pause after a request that was answered
 * doubles, from the patience up to an hour. A request that failed brought nothing and is made again
 * after the patience. A hole that has moved on to where the answer ends is asked for at once, so that
 * a long one fills as fast as it is read; one that has not come there yet still reads that answer.
 */
export class ReplayPace {
  /** By source partition. */
  private readonly asked = new Map<string, AskedHole>();

  /** @param patienceMs how long batches wait behind a hole before it is asked for, milliseconds */
  constructor(private readonly patienceMs: number) {}

  /**
   * The holes to ask for now, which counts as asked; the caller tells which requests were answered.
   * @param holes every hole there is; others are forgotten
   * @param nowMs monotonic, milliseconds
   */
  due(holes: readonly RatedHole[], nowMs: number): readonly RatedHole[] {
    const there = new Set(holes.map(keyOf));
    for (const key of this.asked.keys()) if (!there.has(key)) this.asked.delete(key);
    return holes.filter((hole) => {
      const former = this.asked.get(keyOf(hole));
      const answered = former?.fromOffset === hole.fromOffset ? former.answered : 0;
      if (hole.waitingMs < this.patienceMs) return false;
      const isRead = former?.through != null && hole.fromOffset >= former.through;
      const pauseMs = isRead ? 0 : this.pauseMs(answered);
      if (former !== undefined && nowMs - former.askedAtMs < pauseMs) return false;
      const { fromOffset } = hole;
      this.asked.set(keyOf(hole), { fromOffset, askedAtMs: nowMs, answered, through: null });
      return true;
    });
  }

  /**
   * Metering has sent what it has for this hole.
   * @param through the source offset after what it sent; null when it does not say
   */
  answered(hole: RatedHole, through: bigint | null): void {
    const asked = this.asked.get(keyOf(hole));
    if (asked?.fromOffset !== hole.fromOffset) return;
    this.asked.set(keyOf(hole), { ...asked, answered: asked.answered + 1, through });
  }

  /** Those of the given holes that are still there after three answered requests. */
  vain(holes: readonly RatedHole[]): readonly RatedHole[] {
    return holes.filter((hole) => {
      const asked = this.asked.get(keyOf(hole));
      return asked?.fromOffset === hole.fromOffset && asked.answered >= VAIN_REQUESTS;
    });
  }

  private pauseMs(answered: number): number {
    return Math.min(LONGEST_PAUSE_MS, this.patienceMs * 2 ** Math.max(0, answered - 1));
  }
}

function keyOf({ topic, partition }: RatedHole): string {
  return `${topic}/${partition}`;
}
