import { laneOf, partitionOfKey, TOPICS, type KeyBlock } from '#libs/events';
import type { BudgetSubject } from '#libs/budgets/core';
import type { KeyId } from '#libs/kernel';
import { isModelAllowed, type KeyRecord } from '#libs/keys/core';

/** A known key with everything a request needs of it computed once. */
export interface Principal {
  readonly record: KeyRecord;
  /** Lanes of the emitter's stream for this key's events. */
  readonly completedLane: number;
  readonly rejectedLane: number;
  /** Members `org_id`, `key_id`, `team_id`, `user_id` of an event, with commas around: `"org_id":…,`. */
  readonly eventPart: string;
  /** Every subject whose budget can govern a request of this key. */
  readonly subjects: readonly BudgetSubject[];
  readonly admitsEveryModel: boolean;
  /** Set while an exhausted budget covers the key, as far as this process has heard. */
  block: KeyBlock | null;
}

/** @param logPartitions `LOG_PARTITIONS` */
export function principalOf(record: KeyRecord, logPartitions: number): Principal {
  const partition = partitionOfKey(record.keyId as KeyId, logPartitions);
  const { orgId, keyId, teamId, teamIsLabel, userId } = record;
  const subjects: BudgetSubject[] = [
    { scope: 'key', subjectId: keyId },
    { scope: 'user', subjectId: userId },
    { scope: 'organisation', subjectId: orgId },
  ];
  if (teamId !== null && teamIsLabel !== true)
    subjects.splice(1, 0, { scope: 'team', subjectId: teamId });
  const label = teamIsLabel === true ? { team_is_label: true } : {};
  const owner = { org_id: orgId, key_id: keyId, team_id: teamId, ...label, user_id: userId };
  return {
    record,
    completedLane: laneOf(TOPICS.requestCompleted, partition, logPartitions),
    rejectedLane: laneOf(TOPICS.requestRejected, partition, logPartitions),
    eventPart: `${JSON.stringify(owner).slice(1, -1)},`,
    subjects,
    admitsEveryModel: record.allowedModels.includes('*'),
    block: record.block,
  };
}

/** Whether a key may use a model. @param names every name of the model, the requested one included */
export function admitsModel(principal: Principal, names: readonly string[]): boolean {
  return principal.admitsEveryModel || isModelAllowed(principal.record.allowedModels, names);
}
