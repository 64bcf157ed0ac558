/**
 * Guarantee: under a stream of records that one batch each would keep the ledger busy with, batches
 * wait for each other; none of the records is lost or doubled by it.
 * Method: metering on a real PostgreSQL and the embedded ClickHouse engine, asked by its own metric.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';

import { TOPICS } from '#libs/events';

import { CHARGE, MeteringBench } from './metering-bench.js';

let bench: MeteringBench;

beforeAll(async () => {
  bench = await MeteringBench.open();
}, 120_000);
afterAll(() => bench.close());

const DEADLINE_MS = 60_000;
const LINGER = /^metering_linger_seconds ([0-9.]+)$/m;

test('the wait grows beyond what was configured while records keep coming', async () => {
  const member = await bench.member();
  const lingerSeconds = async (): Promise<number> =>
    Number(LINGER.exec(await member.runtime.metrics.metrics())?.[1]);
  const begunMs = bench.clock.monotonicMs();
  let sent = 0;
  let leastSeconds = Infinity;
  do {
    sent += 1;
    await member.eventLog.append([bench.emitter.completed(bench.sample(sent))]);
    leastSeconds = Math.min(leastSeconds, (await lingerSeconds()) || Infinity);
    expect(bench.clock.monotonicMs() - begunMs).toBeLessThan(DEADLINE_MS);
  } while ((await lingerSeconds()) <= leastSeconds * 2);
  const { next } = await member.eventLog.bounds(TOPICS.requestCompleted, 0);
  await bench.reached(member, 0, next, DEADLINE_MS);
  expect(await bench.sums()).toEqual({
    rows: sent,
    events: sent,
    chargePicoUsd: BigInt(sent) * CHARGE,
  });
}, 180_000);
