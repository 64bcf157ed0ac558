import type { BudgetStateV1, BudgetThresholdV1, KeyRevocationV1 } from '#libs/events';

/** What the guard tells the rest of the system, for topic `control`. */
export type BudgetEvent =
  | { readonly type: 'budget.threshold.v1'; readonly data: BudgetThresholdV1 }
  | {
      readonly type: 'budget.exceeded.v1' | 'budget.reinstated.v1';
      readonly data: BudgetStateV1;
    }
  | { readonly type: 'key.revoked.v1' | 'key.reinstated.v1'; readonly data: KeyRevocationV1 };

/** The subject an event is about; the business key of its record. */
export function eventSubject(event: BudgetEvent): string {
  return 'key_id' in event.data ? event.data.key_id : event.data.subject_id;
}
