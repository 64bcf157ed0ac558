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
}

/**
 * When each missing rated batch is asked for. What metering sends may be as unreadable as before, and
 * each time up to 200 messages come through the log: so the pause after a request that was answered
 * doubles, from the patience up to an hour. A request that failed brought nothing and is made again
 * after the patience; so is one for a hole that has moved on.
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
      if (former !== undefined && nowMs - former.askedAtMs < this.pauseMs(answered)) return false;
      this.asked.set(keyOf(hole), { fromOffset: hole.fromOffset, askedAtMs: nowMs, answered });
      return true;
    });
  }

  /** Metering has sent what it has for this hole. */
  answered(hole: RatedHole): void {
    const asked = this.asked.get(keyOf(hole));
    if (asked?.fromOffset !== hole.fromOffset) return;
    this.asked.set(keyOf(hole), { ...asked, answered: asked.answered + 1 });
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
