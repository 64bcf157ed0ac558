import { uuidBytes, type KeyId } from '#libs/kernel';

/**
 * Every topic of the event log. `request.completed`, `request.rejected` and `usage.rated` have
 * `LOG_PARTITIONS` partitions; `prices`, `control` and `emitter.resend` have one.
 */
export const TOPICS = {
  requestCompleted: 'request.completed',
  requestRejected: 'request.rejected',
  usageRated: 'usage.rated',
  prices: 'prices',
  control: 'control',
  emitterResend: 'emitter.resend',
} as const;

/** The name of a topic. */
export type Topic = (typeof TOPICS)[keyof typeof TOPICS];

/** Topics whose partition count is `LOG_PARTITIONS`; the others have exactly one partition. */
const PARTITIONED: ReadonlySet<Topic> = new Set([
  TOPICS.requestCompleted,
  TOPICS.requestRejected,
  TOPICS.usageRated,
]);

/** How many partitions a topic has, given the deployment's `LOG_PARTITIONS`. */
export function partitionCount(topic: Topic, logPartitions: number): number {
  return PARTITIONED.has(topic) ? logPartitions : 1;
}

/**
 * The partition of everything a key causes: the first four bytes of its UUID, big-endian, modulo the
 * partition count. The same in every adapter, never the client library's own partitioner.
 */
export function partitionOfKey(keyId: KeyId, logPartitions: number): number {
  return uuidBytes(keyId).readUInt32BE(0) % logPartitions;
}

/**
 * An emitter's lane: topic ordinal times partition count plus partition. Sequences are gap-free per
 * (emitter, lane).
 */
export function laneOf(
  topic: typeof TOPICS.requestCompleted | typeof TOPICS.requestRejected,
  partition: number,
  logPartitions: number,
): number {
  return (topic === TOPICS.requestCompleted ? 0 : logPartitions) + partition;
}

/** The topic and partition a lane stands for; the inverse of `laneOf`. */
export function laneTarget(
  lane: number,
  logPartitions: number,
): { readonly topic: Topic; readonly partition: number } {
  return lane < logPartitions
    ? { topic: TOPICS.requestCompleted, partition: lane }
    : { topic: TOPICS.requestRejected, partition: lane - logPartitions };
}
