/**
 * Guarantee: members of metering that join and leave every two seconds, some by kill -9, neither lose
 * nor double a row nor bring it to a standstill.
 * Method: real processes over real Kafka for 20 s; `npm run bench -- scaling` does two minutes.
 */
import { expect, test } from '@jest/globals';

import { generatorOf } from '../statistics.js';
import { rideStorm } from './scaling.bench.js';

/** Longest time without a commit, milliseconds: a killed member's session and a busy machine. */
const MOST_STANDSTILL_MS = 15_000;

test('a storm of members leaves every record once and never stands still', async () => {
  const result = await rideStorm({
    seconds: 20,
    everyMs: 2_000,
    leastChanges: 4,
    rate: 1_200,
    random: generatorOf(3),
  });
  expect(result).toMatchObject({ isWhole: true, faults: { lost: 0, doubled: 0 } });
  expect(result.changes).toBeGreaterThanOrEqual(4);
  expect(result.longestStandstillMs).toBeLessThan(MOST_STANDSTILL_MS);
}, 600_000);
