/** The event type of a request to send a range of an emitter's stream once more. */
export const EMITTER_RESEND_V1 = 'emitter.resend.v1';

/** The event type by which an emitter says that a range of its stream is gone for good. */
export const EMITTER_LOST_V1 = 'emitter.lost.v1';

/**
 * A range of an emitter's sequence in one lane, both ends included.
 *
 * `emitter.resend.v1` on topic `emitter.resend`: metering misses these records; whoever holds the
 * emitter sends those it still has once more, under their own sequences, and says of the others that
 * they are lost. Asked again until the range is closed.
 *
 * `emitter.lost.v1` on `request.completed`: an ordinary record of the emitter's stream, with a sequence
 * of its own. It lies in the partition of the lane it speaks of; for a lane of `request.rejected` in
 * the partition of the same number.
 */
export interface EmitterRangeV1 {
  /** 32 hex digits. */
  readonly emitter_id: string;
  readonly lane: number;
  /** Decimal text, from 1. */
  readonly from_seq: string;
  /** Decimal text, at least `from_seq`. */
  readonly to_seq: string;
}
