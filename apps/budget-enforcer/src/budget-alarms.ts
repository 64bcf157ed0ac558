import type { BudgetStanding, RatedHole } from '#libs/budgets/adapters';
import { AppError, type Clock } from '#libs/kernel';

/**
 * How long a rated batch may wait behind a missing one before it is an alarm, milliseconds; by then
 * the missing one was asked for.
 */
const PARKED_ALARM_MS = 60_000;
/** How long the reconciler may be silent before it is an alarm, milliseconds. */
const RECONCILER_SILENCE_MS = 15_000;

/** Why the guard is not ready; each reason stays until its cause is gone. */
export class BudgetAlarms {
  private readonly stopped = new Map<string, string>();
  private holes: readonly RatedHole[] = [];
  private oldestParkedMs = 0;
  private lookedAtMs: number;

  constructor(private readonly clock: Clock) {
    this.lookedAtMs = clock.monotonicMs();
  }

  /** A partition cannot go on. @param code of the error that stops it */
  partitionStopped(topic: string, partition: number, code: string): void {
    this.stopped.set(`${topic}/${partition}`, code);
  }

  /** A partition goes on. */
  partitionMoved(topic: string, partition: number): void {
    this.stopped.delete(`${topic}/${partition}`);
  }

  /** The reconciler has looked. */
  looked(standing: BudgetStanding): void {
    this.oldestParkedMs = standing.oldestParkedMs;
    this.lookedAtMs = this.clock.monotonicMs();
  }

  /** Missing rated batches that metering has sent again and again in vain; none = no longer any. */
  unfilled(holes: readonly RatedHole[]): void {
    this.holes = holes;
  }

  /** @throws AppError `budget.alarm` with every reason while there is one */
  check(): void {
    const reasons = [...this.stopped].map(([partition, code]) => `${partition} stopped: ${code}`);
    reasons.push(...this.holes.map(toReason));
    if (this.holes.length === 0 && this.oldestParkedMs > PARKED_ALARM_MS) {
      reasons.push('a rated batch is missing');
    }
    if (this.clock.monotonicMs() - this.lookedAtMs > RECONCILER_SILENCE_MS) {
      reasons.push('the reconciler does not work');
    }
    if (reasons.length === 0) return;
    throw new AppError({
      code: 'budget.alarm',
      kind: 'unavailable',
      publicMessage: reasons.join('; '),
    });
  }
}

function toReason({ topic, partition, fromOffset }: RatedHole): string {
  return (
    `the rated batch of ${topic}/${partition} at offset ${fromOffset} was sent again and is still ` +
    'missing: read the dead letters of usage.rated (bin/tollgate dead-letters list)'
  );
}
