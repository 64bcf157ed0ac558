import { assert } from '#libs/kernel';

/** Sequences that have not arrived, both ends inclusive. */
export interface SequenceGap {
  readonly fromSeq: bigint;
  readonly toSeq: bigint;
}

/** What is known of one emitter's lane. */
export interface StreamState {
  readonly emitterId: string;
  readonly lane: number;
  /** The highest sequence seen; 0 before the first. */
  readonly highSeq: bigint;
  /** Ascending, disjoint, all below `highSeq`. */
  readonly gaps: readonly SequenceGap[];
}

/** The place of a record in its emitter's stream. */
export interface StreamPosition {
  readonly emitterId: string;
  readonly lane: number;
  /** From 1. */
  readonly sequence: bigint;
}

/** A lane before its first record. */
export function emptyStream(emitterId: string, lane: number): StreamState {
  return { emitterId, lane, highSeq: 0n, gaps: [] };
}

/** Everything up to and including this sequence has arrived. */
export function contiguousSeq(state: StreamState): bigint {
  const first = state.gaps[0];
  return first === undefined ? state.highSeq : first.fromSeq - 1n;
}

/**
 * Takes in one sequence: a new one above the highest (what it leaves out becomes a gap), or one that
 * closes a gap wholly or in part.
 * @returns the state afterwards, or null when the sequence was seen before
 */
export function advanceStream(state: StreamState, sequence: bigint): StreamState | null {
  assert(sequence >= 1n, 'sequences start at 1');
  if (sequence > state.highSeq) {
    const left = { fromSeq: state.highSeq + 1n, toSeq: sequence - 1n };
    const gaps = left.fromSeq <= left.toSeq ? [...state.gaps, left] : state.gaps;
    return { ...state, highSeq: sequence, gaps };
  }
  const at = state.gaps.findIndex((gap) => gap.fromSeq <= sequence && sequence <= gap.toSeq);
  const gap = state.gaps[at];
  if (gap === undefined) return null;
  const rest = [
    { fromSeq: gap.fromSeq, toSeq: sequence - 1n },
    { fromSeq: sequence + 1n, toSeq: gap.toSeq },
  ].filter(({ fromSeq, toSeq }) => fromSeq <= toSeq);
  return { ...state, gaps: state.gaps.toSpliced(at, 1, ...rest) };
}

/**
 * What lies between the streams as known and the first records of each that a log still holds.
 * @param records of one lane each, in the order of the log
 */
export function holesBefore(
  known: readonly StreamState[],
  records: readonly StreamPosition[],
): readonly (StreamPosition & SequenceGap)[] {
  const seen = new Set<string>();
  const holes: (StreamPosition & SequenceGap)[] = [];
  for (const position of records) {
    const key = keyOf(position);
    if (seen.has(key)) continue;
    seen.add(key);
    const highSeq = known.find((state) => keyOf(state) === key)?.highSeq ?? 0n;
    const hole = { fromSeq: highSeq + 1n, toSeq: position.sequence - 1n };
    if (hole.fromSeq <= hole.toSeq) holes.push({ ...position, ...hole });
  }
  return holes;
}

/** The streams a batch touches, moved on record by record. One instance per batch. */
export class EmitterStreams {
  private readonly states = new Map<string, StreamState>();
  private readonly before = new Map<string, StreamState>();

  constructor(known: readonly StreamState[]) {
    for (const state of known) this.states.set(keyOf(state), state);
  }

  /** @returns false for a sequence that was seen before, which changes nothing */
  accept(position: StreamPosition): boolean {
    const key = keyOf(position);
    const state = this.states.get(key) ?? emptyStream(position.emitterId, position.lane);
    const next = advanceStream(state, position.sequence);
    if (next === null) return false;
    if (!this.before.has(key)) this.before.set(key, state);
    this.states.set(key, next);
    return true;
  }

  /** Streams that moved, as they were and as they are. */
  changes(): readonly { readonly before: StreamState; readonly after: StreamState }[] {
    return [...this.before].map(([key, before]) => ({ before, after: this.states.get(key)! }));
  }
}

function keyOf(stream: { readonly emitterId: string; readonly lane: number }): string {
  return `${stream.emitterId}/${stream.lane}`;
}
