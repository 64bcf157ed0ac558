import { expect, test } from '@jest/globals';

import { asRead, completed, SampleEmitter } from '../../test/sample-events.js';
import { batchIdOf, inputSha256, nextToken } from './batch-identity.js';
import { cutBatch, mostRecords } from './cut-batch.js';
import { repairFor } from './verification.js';

const emitter = new SampleEmitter();
const inputs = [1, 2, 3, 4].map((number) => emitter.completed(completed(number)));

test('a batch ends at its largest size and at the edge of a month', () => {
  expect(cutBatch(asRead(inputs), 3)).toHaveLength(3);
  const edgeMs = Date.parse('2026-09-01T00:00:00Z');
  const across = [
    ...asRead(inputs.slice(0, 2), 0n, edgeMs - 1),
    ...asRead(inputs.slice(2), 2n, edgeMs),
  ];
  expect(cutBatch(across, 10).map(({ offset }) => offset)).toEqual([0n, 1n]);
});

test('a batch may be ten times as long once its oldest record is more than 10 s old', () => {
  const [oldest] = asRead(inputs, 0n, 1_000);
  expect(mostRecords(oldest!, 11_000)).toBe(5_000);
  expect(mostRecords(oldest!, 11_001)).toBe(50_000);
});

test('a batch ends before its insert grows beyond 10 MB, but holds one record whatever its size', () => {
  const large = { ...inputs[0]!, value: Buffer.alloc(65_536) };
  const batch = cutBatch(asRead(Array.from({ length: 200 }, () => large)), 50_000);
  expect(batch.length).toBeGreaterThan(140);
  expect(batch.length * 65_536).toBeLessThan(10_000_000);
  const huge = { ...inputs[0]!, value: Buffer.alloc(20_000_000) };
  expect(cutBatch(asRead([huge, huge]), 50_000)).toHaveLength(1);
});

test('a batch ends before a record of a newer major version, which is never skipped', () => {
  const newer = {
    ...inputs[2]!,
    headers: { ...inputs[2]!.headers, ce_type: 'request.completed.v2' },
  };
  expect(cutBatch(asRead([inputs[0]!, newer, inputs[3]!]), 10)).toHaveLength(1);
  expect(cutBatch(asRead([newer, inputs[3]!]), 10)).toEqual([]);
});

test('the identity of a batch follows from its range and its bytes', () => {
  const range = { topic: 'request.completed', partition: 0, first: 0n, last: 3n };
  const input = inputSha256(asRead(inputs));
  expect(batchIdOf(range, input)).toMatch(/^[0-9a-f]{64}$/);
  expect(batchIdOf(range, input)).toBe(batchIdOf(range, inputSha256(asRead(inputs, 0n, 1))));
  expect(batchIdOf({ ...range, last: 4n }, input)).not.toBe(batchIdOf(range, input));
  expect(inputSha256(asRead([inputs[1]!, inputs[0]!]))).not.toEqual(
    inputSha256(asRead(inputs.slice(0, 2))),
  );
});

test('no token is used twice', () => {
  const first = nextToken('b', 'b');
  const second = nextToken('b', first, ['x']);
  expect([first, nextToken('b', second)]).toEqual(['b:r1', 'b:r3']);
  expect(second).toMatch(/^b:r2:[0-9a-f]{64}$/);
});

test('what is done to the store follows from what it holds', () => {
  const digest = (rows: number, xor64 = BigInt(rows)) =>
    ({ rows, costPicoUsd: 0n, chargePicoUsd: 0n, xor64 }) as never;
  expect(repairFor(digest(3), digest(3))).toBe('none');
  expect(repairFor(digest(3), digest(0))).toBe('insert_all');
  expect(repairFor(digest(3), digest(2))).toBe('insert_missing');
  expect(repairFor(digest(3), digest(4))).toBe('replace');
  expect(repairFor(digest(3), digest(3, 9n))).toBe('replace');
});
