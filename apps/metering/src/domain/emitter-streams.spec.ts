import { expect, test } from '@jest/globals';
import fc from 'fast-check';

import { advanceStream, contiguousSeq, emptyStream, type StreamState } from './emitter-streams.js';

function after(sequences: readonly bigint[]): { state: StreamState; accepted: bigint[] } {
  let state = emptyStream('e', 0);
  const accepted: bigint[] = [];
  for (const sequence of sequences) {
    const next = advanceStream(state, sequence);
    if (next === null) continue;
    state = next;
    accepted.push(sequence);
  }
  return { state, accepted };
}

test('what a sequence leaves out is a gap, which later arrivals shrink and close', () => {
  expect(after([1n, 5n]).state.gaps).toEqual([{ fromSeq: 2n, toSeq: 4n }]);
  expect(after([1n, 5n, 3n]).state.gaps).toEqual([
    { fromSeq: 2n, toSeq: 2n },
    { fromSeq: 4n, toSeq: 4n },
  ]);
  expect(after([1n, 5n, 3n, 2n, 4n]).state).toMatchObject({ highSeq: 5n, gaps: [] });
  expect(contiguousSeq(after([1n, 5n]).state)).toBe(1n);
});

test('each sequence is accepted once, and gaps are exactly what is missing', () => {
  fc.assert(
    fc.property(fc.array(fc.bigInt({ min: 1n, max: 30n }), { maxLength: 60 }), (sequences) => {
      const { state, accepted } = after(sequences);
      const seen = new Set(sequences);
      expect(accepted).toEqual([...seen]);
      const missing = state.gaps.flatMap(({ fromSeq, toSeq }) =>
        Array.from({ length: Number(toSeq - fromSeq) + 1 }, (_, i) => fromSeq + BigInt(i)),
      );
      const expected = Array.from({ length: Number(state.highSeq) }, (_, i) => BigInt(i + 1));
      expect(missing).toEqual(expected.filter((sequence) => !seen.has(sequence)));
    }),
  );
});
