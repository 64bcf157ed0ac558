import { expect, test } from '@jest/globals';

import { BacklogAlarm } from './backlog-alarm.js';

test('half of the cap is told once, and again only after it had fallen below a quarter', () => {
  let unpublishedBytes = 0;
  let told = 0;
  const alarm = new BacklogAlarm(
    {
      depth: () => ({ unpublishedEvents: 1, unpublishedBytes, capBytes: 1_000, sizeBytes: 1 }),
    },
    { error: () => void (told += 1) },
  );
  const toldAt = [490, 500, 900, 300, 600, 249, 499, 501].map((bytes) => {
    unpublishedBytes = bytes;
    alarm.look();
    return told;
  });
  expect(toldAt).toEqual([0, 1, 1, 1, 1, 1, 1, 2]);
});
