import { expect, test } from '@jest/globals';

import type { LogRecordInput } from '#libs/event-log/core';

import { appendInSlices } from './append-slices.js';

test('records go out in order, no append larger than 8 MiB unless one record is', async () => {
  const mebibytes = [3, 4, 2, 9, 1];
  const records = mebibytes.map((size, i) => ({
    topic: 'usage.rated',
    partition: 0,
    key: String(i),
    headers: {},
    value: new Uint8Array(size * 1024 * 1024),
  }));
  const appended: string[][] = [];
  const append = async (slice: readonly LogRecordInput[]): Promise<void> => {
    appended.push(slice.map(({ key }) => key));
  };
  await appendInSlices({ append }, records);
  expect(appended).toEqual([['0', '1'], ['2'], ['3'], ['4']]);
});
