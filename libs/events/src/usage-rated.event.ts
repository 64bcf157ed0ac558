import type { Provenance } from './request-events.js';

/** The event type of a rated batch. */
export const USAGE_RATED_V1 = 'usage.rated.v1';

/** What budgets a subject can own. */
export type BudgetScope = 'key' | 'team' | 'user' | 'organisation';

/** Sums of a batch for one subject: everything it was charged, held or not. */
export interface RatedSubject {
  readonly scope: BudgetScope;
  readonly subject_id: string;
  readonly events: number;
  readonly charge_pusd: string;
  readonly tokens_in: number;
  readonly tokens_out: number;
}

/** The end of one hold. */
export interface RatedHold {
  readonly hold_id: string;
  readonly charge_pusd: string;
  readonly provenance: Provenance;
}

/**
 * One per batch of `request.completed`, also for an empty one, so that source ranges stay
 * contiguous. Applied once, by `batch_id`; partition = source partition.
 */
export interface UsageRatedV1 {
  /** 64 hex digits. */
  readonly batch_id: string;
  /** `first` and `last` are inclusive offsets as decimal text. */
  readonly source: {
    readonly topic: string;
    readonly partition: number;
    readonly first: string;
    readonly last: string;
  };
  readonly subjects: readonly RatedSubject[];
  readonly holds: readonly RatedHold[];
  readonly watermarks: readonly {
    readonly emitter_id: string;
    readonly lane: number;
    readonly seq: string;
  }[];
}
