import { laneOf, partitionOfKey, TOPICS, type KeyBlock } from '#libs/events';
import type { BudgetSubject } from '#libs/budgets/core';
import type { KeyId } from '#libs/kernel';
import { isModelAllowed, type KeyRecord } from '#libs/keys/core';

/**
 * Longest `eventPart`, bytes. An event has at most 64 KiB; what else it carries is bounded and, without
 * the provider's usage object, stays below the rest.
 */
const MAX_EVENT_PART_BYTES = 16_384;

/** A known key with everything a request needs of it computed once. */
export interface Principal {
  readonly record: KeyRecord;
  /** Lanes of the emitter's stream for this key's events. */
  readonly completedLane: number;
  readonly rejectedLane: number;
  /** Members `org_id`, `key_id`, `team_id`, `user_id` of an event, with commas around: `"org_id":…,`. */
  readonly eventPart: string;
  /** Whether a record of the key's requests fits an event. */
  readonly isRecordable: boolean;
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
  const eventPart = `${JSON.stringify(owner).slice(1, -1)},`;
  return {
    record,
    completedLane: laneOf(TOPICS.requestCompleted, partition, logPartitions),
    rejectedLane: laneOf(TOPICS.requestRejected, partition, logPartitions),
    eventPart,
    isRecordable: Buffer.byteLength(eventPart) <= MAX_EVENT_PART_BYTES,
    subjects,
    admitsEveryModel: record.allowedModels.includes('*'),
    block: record.block,
  };
}

/** Whether a key may use a model. @param names every name of the model, the requested one included */
export function admitsModel(principal: Principal, names: readonly string[]): boolean {
  return principal.admitsEveryModel || isModelAllowed(principal.record.allowedModels, names);
}
