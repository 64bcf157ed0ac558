import type { LostRange } from '#libs/spool/core';

/**
 * Sequences given up per lane when the end of a damaged file cannot be read: no event may ever carry a
 * sequence that a lost one may have had, since its receiver would take it for a repeat.
 */
export const UNCERTAIN_TAIL = 1_000_000;

/**
 * Stands for every lane of which a damaged file shows nothing: its last sequence is where such a lane
 * begins behind.
 */
export const OTHER_LANES = -1;

/** What is known of a lane's sequences. */
export interface LaneSurvey {
  /** Highest sequence known to be published. */
  published: number;
  /** Highest sequence known to have existed. */
  last: number;
  /** Sequences whose rows are sound. */
  readonly sound: Set<number>;
}

/**
 * The sequences that are neither published nor in a sound row, as ranges, growing per lane.
 * @param isTailCertain false when rows behind the last known one may have existed
 */
export function lostAfterSalvage(
  lanes: ReadonlyMap<number, LaneSurvey>,
  isTailCertain: boolean,
): LostRange[] {
  const lost: LostRange[] = [];
  for (const [lane, { published, last, sound }] of lanes) {
    const end = isTailCertain ? last : last + UNCERTAIN_TAIL;
    let from = 0;
    for (let sequence = published + 1; sequence <= last + 1; sequence += 1) {
      const isMissing = sequence <= last && !sound.has(sequence);
      if (isMissing && from === 0) from = sequence;
      if (isMissing || from === 0 || sequence > last) continue;
      lost.push({ lane, from: BigInt(from), to: BigInt(sequence - 1) });
      from = 0;
    }
    if (from === 0 && !isTailCertain) from = last + 1;
    if (from > 0) lost.push({ lane, from: BigInt(from), to: BigInt(end) });
  }
  return lost;
}
