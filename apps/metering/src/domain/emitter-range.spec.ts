import { expect, test } from '@jest/globals';

import { TOPICS } from '#libs/events';

import { asRead, completed, PARTITIONS, SampleEmitter } from '../../test/sample-events.js';
import { decodeLost, resendRequest } from './emitter-range.js';
import { holesBefore } from './emitter-streams.js';
import { classify, outboxEmitterId, streamOf } from './record-class.js';

const EMITTER = 'e'.repeat(32);
const GOOD = { emitter_id: EMITTER, lane: 1, from_seq: '5', to_seq: '9' };

function decode(data: object, partition = 1): unknown {
  return decodeLost(Buffer.from(JSON.stringify(data)), EMITTER, partition, PARTITIONS);
}

test('an emitter gives up ranges of its own lanes in the partition it speaks in', () => {
  const range = { emitterId: EMITTER, lane: 1, fromSeq: 5n, toSeq: 9n };
  expect(decode(GOOD)).toEqual(range);
  expect(decode({ ...GOOD, lane: 1 + PARTITIONS })).toEqual({ ...range, lane: 1 + PARTITIONS });
  expect(decode({ ...GOOD, to_seq: '9007199254740993' })).toMatchObject({
    toSeq: 9_007_199_254_740_993n,
  });
});

test.each([
  ['of another emitter', { emitter_id: 'f'.repeat(32) }],
  ['of another partition', { lane: 2 }],
  ['of a lane that is none', { lane: 2 * PARTITIONS }],
  ['that ends before it begins', { to_seq: '4' }],
  ['from 0', { from_seq: '0' }],
  ['in numbers', { from_seq: 5 }],
  ['beyond 63 bits', { to_seq: '9223372036854775808' }],
])('a range %s is a fault', (_name, change) => {
  expect(() => decode({ ...GOOD, ...change })).toThrow(
    expect.objectContaining({ faultClass: 'malformed' }),
  );
});

test('a record by which an emitter gives up a range is one of its stream', () => {
  const [record] = asRead([new SampleEmitter().lost(1, 5n, 9n)]);
  const stream = streamOf(record!, PARTITIONS);
  expect(stream).toEqual({ emitterId: EMITTER, lane: 1, sequence: 1n });
  expect(classify(record!, stream, PARTITIONS)).toMatchObject({
    kind: 'lost',
    range: { lane: 1, fromSeq: 5n, toSeq: 9n },
  });
});

test('a request names one range, and each repeat of it is a message of its own', () => {
  const range = { emitterId: EMITTER, lane: 1, fromSeq: 5n, toSeq: 9n };
  const first = resendRequest(range, 1, 0);
  expect(first).toMatchObject({ topic: TOPICS.emitterResend, partition: 0, key: EMITTER });
  expect(JSON.parse(Buffer.from(first.value).toString())).toEqual(GOOD);
  expect(resendRequest(range, 2, 0).headers['ce_id']).not.toBe(first.headers['ce_id']);
});

test('a record out of an outbox stands in the stream of its service', () => {
  const [record] = asRead([new SampleEmitter().completed(completed(1))]);
  const headers = {
    ce_type: 'request.completed.v1',
    outbox_source: 'metering',
    outbox_lane: '0',
    outbox_seq: '7',
  };
  const place = { emitterId: outboxEmitterId('metering'), lane: 0, sequence: 7n };
  expect(streamOf({ ...record!, headers }, PARTITIONS)).toEqual(place);
  for (const wrong of [{ outbox_lane: '1' }, { outbox_seq: '0' }, { outbox_seq: 'x' }]) {
    expect(streamOf({ ...record!, headers: { ...headers, ...wrong } }, PARTITIONS)).toBeNull();
  }
});

test('what is missing before the first record that is left is one hole per stream', () => {
  const at = (emitterId: string, sequence: bigint) => ({ emitterId, lane: 0, sequence });
  const known = [
    { emitterId: 'a', lane: 0, highSeq: 4n, gaps: [] },
    { emitterId: 'b', lane: 0, highSeq: 9n, gaps: [] },
  ];
  const holes = holesBefore(known, [at('a', 8n), at('a', 20n), at('b', 10n), at('c', 3n)]);
  expect(holes).toMatchObject([
    { emitterId: 'a', fromSeq: 5n, toSeq: 7n },
    { emitterId: 'c', fromSeq: 1n, toSeq: 2n },
  ]);
});
