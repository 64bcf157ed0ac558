/**
 * Guarantee: on Kafka as on PostgreSQL, poison of one partition makes no other wait, and the stored
 * offset alone decides where metering reads on.
 * Method: metering on a real broker, a real PostgreSQL and the embedded ClickHouse engine. Waits with
 * poison are compared with waits without it in the same run, so that the machine's load cancels out.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';

import type { LogRecordInput } from '#libs/event-log/core';
import { TOPICS } from '#libs/events';
import { eventually, startTestKafka, type TestKafka } from '#libs/testing';

import { CHARGE, MeteringBench } from './metering-bench.js';
import type { Member } from './metering-fixture.js';
import { keyInPartition } from './sample-events.js';

let kafka: TestKafka;
let bench: MeteringBench;

beforeAll(async () => {
  kafka = await startTestKafka({ brokers: 1, isOwn: true });
  bench = await MeteringBench.open();
});
afterAll(async () => {
  await bench.close();
  await kafka.stop();
});

const inPartition = (partition: number) => ({ key_id: keyInPartition(partition) });

/** Rounds with and without poison. */
const ROUNDS = 5;
/** A round may be this much slower for the poison of others, milliseconds. */
const MOST_MORE_MS = 2_000;

/** Until a record of partition 2, appended behind what else is given, is in the ledger, milliseconds. */
async function waitOfThird(
  at: Member,
  number: number,
  before: readonly LogRecordInput[],
): Promise<number> {
  const { next } = await at.eventLog.bounds(TOPICS.requestCompleted, 2);
  if (before.length > 0) await at.eventLog.append(before);
  const begunMs = bench.clock.monotonicMs();
  await at.eventLog.append([bench.emitter.completed(bench.sample(number, inPartition(2)))]);
  await bench.reached(at, 2, next + 1n, 60_000);
  return bench.clock.monotonicMs() - begunMs;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

test('poison in two partitions makes the third wait less than 2 s; a restart doubles nothing', async () => {
  const first = await bench.member({ kafkaBrokers: kafka.addresses });
  // Every partition is running.
  await first.eventLog.append(
    [0, 1, 2].map((n) => bench.emitter.completed(bench.sample(n, inPartition(n)))),
  );
  for (const partition of [0, 1, 2]) await bench.reached(first, partition, 1n, 60_000);
  const usual: number[] = [];
  for (let n = 0; n < ROUNDS; n += 1) usual.push(await waitOfThird(first, 10 + n, []));

  const newer = bench.emitter.completed(bench.sample(3, inPartition(1)));
  await first.eventLog.append([
    { ...newer, headers: { ...newer.headers, ce_type: 'request.completed.v2' } },
  ]);
  await eventually(
    async () =>
      (await first.runtime.metrics.metrics()).includes(
        'metering_partition_stopped{topic="request.completed",partition="1"} 1',
      ),
    { deadlineMs: 60_000 },
  );
  // Partition 1 stays stopped; partition 0 gets another record to park in each round.
  const poisoned: number[] = [];
  for (let n = 0; n < ROUNDS; n += 1) {
    const good = bench.emitter.completed(bench.sample(20 + n));
    const poison = { ...good, value: Buffer.from('poison') };
    poisoned.push(await waitOfThird(first, 30 + n, [poison]));
  }
  expect(median(poisoned)).toBeLessThan(median(usual) + MOST_MORE_MS);
  await bench.reached(first, 0, BigInt(ROUNDS + 1), 60_000);
  await first.stop();

  const second = await bench.member({ kafkaBrokers: kafka.addresses });
  await second.eventLog.append([bench.emitter.completed(bench.sample(6, inPartition(2)))]);
  await bench.reached(second, 2, BigInt(2 * ROUNDS + 2), 60_000);
  const rows = 3 + 2 * ROUNDS + 1;
  expect(await bench.sums()).toEqual({ rows, events: rows, chargePicoUsd: BigInt(rows) * CHARGE });
  const letters = await second.database.query(
    'SELECT partition, "offset"::integer, class FROM dead_letter ORDER BY 1, 2',
  );
  expect(letters.rows).toEqual(
    Array.from({ length: ROUNDS }, (_, n) => ({ partition: 0, offset: n + 1, class: 'not_json' })),
  );
});
