import { expect, test } from '@jest/globals';

import { EphemeralPartitionOwner } from './ephemeral-partition-owner.js';

const BOUNDS = { earliest: 3n, next: 9n };

test('a partition taken for the first time starts where the owner was told to', async () => {
  expect(await new EphemeralPartitionOwner('earliest').take('t', 0, BOUNDS)).toEqual({
    epoch: 1n,
    nextOffset: 3n,
  });
  expect(await new EphemeralPartitionOwner('next').take('t', 0, BOUNDS)).toEqual({
    epoch: 1n,
    nextOffset: 9n,
  });
});

test('a partition taken again goes on behind what was handled, in a new epoch', async () => {
  const owner = new EphemeralPartitionOwner('earliest');
  await owner.take('t', 0, BOUNDS);
  owner.advance('t', 0, 7n);
  expect(await owner.take('t', 0, { earliest: 3n, next: 12n })).toEqual({
    epoch: 2n,
    nextOffset: 7n,
  });
});

test('partitions are counted apart, and one that was never taken stays unknown', async () => {
  const owner = new EphemeralPartitionOwner('earliest');
  await owner.take('t', 0, BOUNDS);
  owner.advance('t', 1, 8n);
  expect(await owner.take('t', 1, BOUNDS)).toEqual({ epoch: 1n, nextOffset: 3n });
  expect(await owner.take('u', 0, BOUNDS)).toEqual({ epoch: 1n, nextOffset: 3n });
});
