import { createHash } from 'node:crypto';

import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import type { KeyId, RequestId } from '#libs/kernel';

import { eventHeaders, parseEventType } from './envelope.js';
import { EVENT_KIND, eventIdOf } from './event-id.js';
import { laneOf, laneTarget, partitionCount, partitionOfKey, TOPICS } from './topics.js';

const REQUEST = '0191f3a0-1234-7abc-8def-0123456789ab' as RequestId;

describe('event identity', () => {
  test('is the first 128 bits of SHA-256 over "usage", request id, attempt and kind', () => {
    const input = Buffer.concat([
      Buffer.from('usage'),
      Buffer.from(REQUEST.replaceAll('-', ''), 'hex'),
      Buffer.from([0x01, 0x02, 0x01]),
    ]);
    const expected = createHash('sha256').update(input).digest('hex').slice(0, 32);
    expect(eventIdOf(REQUEST, 0x0102, EVENT_KIND.completed).replaceAll('-', '')).toBe(expected);
  });

  test('differs by attempt and by kind', () => {
    const ids = [
      eventIdOf(REQUEST, 1, EVENT_KIND.completed),
      eventIdOf(REQUEST, 2, EVENT_KIND.completed),
      eventIdOf(REQUEST, 1, EVENT_KIND.rejected),
    ];
    expect(new Set(ids).size).toBe(3);
  });
});

describe('partitions and lanes', () => {
  test('a key lies in the partition of its first four bytes, big-endian', () => {
    const key = '00000107-0000-4000-8000-000000000000' as KeyId;
    expect(partitionOfKey(key, 12)).toBe(0x107 % 12);
  });

  test('a lane names one topic and partition, and both name the lane', () => {
    const sizes = fc.integer({ min: 1, max: 64 });
    fc.assert(
      fc.property(sizes, fc.nat(63), fc.boolean(), (count, nth, isCompleted) => {
        const topic = isCompleted ? TOPICS.requestCompleted : TOPICS.requestRejected;
        const partition = nth % count;
        const target = laneTarget(laneOf(topic, partition, count), count);
        return target.topic === topic && target.partition === partition;
      }),
    );
  });

  test('control, prices and resend requests have one partition, whatever the deployment', () => {
    const single = [TOPICS.control, TOPICS.prices, TOPICS.emitterResend];
    expect(single.map((topic) => partitionCount(topic, 12))).toEqual([1, 1, 1]);
    expect(partitionCount(TOPICS.requestCompleted, 12)).toBe(12);
  });
});

describe('envelope', () => {
  test('carries the required attributes and, for an emitter, its place in the stream', () => {
    const event = {
      id: 'e1',
      type: 'request.completed.v1',
      service: 'proxy',
      time: '2026-01-01T00:00:00.000Z',
      subject: 'k1',
      partitionKey: 'k1',
    };
    expect(eventHeaders(event)).toMatchObject({
      ce_specversion: '1.0',
      ce_source: '/tollgate/proxy',
    });
    const stream = { emitterId: 'ab', lane: 4, sequence: 7n };
    expect(eventHeaders({ ...event, stream })).toMatchObject({
      ce_emitterid: 'ab',
      ce_lane: '4',
      ce_sequence: '7',
    });
  });

  test('a type is a name and a major version, anything else is neither', () => {
    expect(parseEventType('request.completed.v12')).toEqual({
      name: 'request.completed',
      major: 12,
    });
    for (const type of [
      '',
      'request.v1',
      'request.completed',
      'Request.Completed.v1',
      'a.b.v99999',
    ]) {
      expect(parseEventType(type)).toBeNull();
    }
  });
});
