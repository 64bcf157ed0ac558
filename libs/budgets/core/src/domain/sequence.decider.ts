/** A range of source offsets that one rated batch stands for; both ends inclusive. */
export interface RatedRange {
  readonly batchId: string;
  readonly first: bigint;
  readonly last: bigint;
}

/** What to do with a rated batch, given what was applied of its source partition so far. */
export type SequenceVerdict =
  /** It follows what was applied. */
  | 'apply'
  /** It was applied before; nothing changes. */
  | 'duplicate'
  /** It is ahead of a hole: set aside until the hole is filled. */
  | 'park'
  /** It claims offsets that another batch has settled: nothing may be applied. */
  | 'overlap';

/** What is known of a source partition. */
export interface AppliedThrough {
  /** First offset not yet applied; 0 before the first batch. */
  readonly nextOffset: bigint;
  /** Batch ids below this offset are forgotten; whatever ends below it was applied. */
  readonly prunedBelow: bigint;
  /** Whether this batch id was applied. */
  isApplied(batchId: string): boolean;
}

/** Places a batch in the contiguous sequence of its source partition. */
export function placeInSequence(range: RatedRange, applied: AppliedThrough): SequenceVerdict {
  if (applied.isApplied(range.batchId)) return 'duplicate';
  if (range.last < applied.prunedBelow) return 'duplicate';
  if (range.first < applied.nextOffset) return 'overlap';
  return range.first === applied.nextOffset ? 'apply' : 'park';
}
