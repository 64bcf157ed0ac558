/**
 * Guarantee: on Kafka as on PostgreSQL, poison of one partition makes no other wait, and the stored
 * offset alone decides where metering reads on.
 * Method: metering on a real broker, a real PostgreSQL and the embedded ClickHouse engine.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';

import { eventually, startTestKafka, type TestKafka } from '#libs/testing';

import { CHARGE, MeteringBench } from './metering-bench.js';
import { keyInPartition } from './sample-events.js';

let kafka: TestKafka;
let bench: MeteringBench;

beforeAll(async () => {
  kafka = await startTestKafka({ brokers: 1, isOwn: true });
  bench = await MeteringBench.open();
}, 240_000);
afterAll(async () => {
  await bench.close();
  await kafka.stop();
});

const inPartition = (partition: number) => ({ key_id: keyInPartition(partition) });

test('poison in two partitions makes the third wait less than 2 s; a restart doubles nothing', async () => {
  const first = await bench.member({ kafkaBrokers: kafka.addresses });
  // Every partition is running.
  await first.eventLog.append(
    [0, 1, 2].map((n) => bench.emitter.completed(bench.sample(n, inPartition(n)))),
  );
  for (const partition of [0, 1, 2]) await bench.reached(first, partition, 1n, 30_000);
  const newer = bench.emitter.completed(bench.sample(3, inPartition(1)));
  await first.eventLog.append([
    { ...bench.emitter.completed(bench.sample(4)), value: Buffer.from('poison') },
    { ...newer, headers: { ...newer.headers, ce_type: 'request.completed.v2' } },
  ]);
  await first.eventLog.append([bench.emitter.completed(bench.sample(5, inPartition(2)))]);
  await bench.reached(first, 2, 2n, 2_000);
  await bench.reached(first, 0, 2n, 2_000);
  await eventually(async () =>
    (await first.runtime.metrics.metrics()).includes(
      'metering_partition_stopped{topic="request.completed",partition="1"} 1',
    ),
  );
  await first.stop();

  const second = await bench.member({ kafkaBrokers: kafka.addresses });
  await second.eventLog.append([bench.emitter.completed(bench.sample(6, inPartition(2)))]);
  await bench.reached(second, 2, 3n, 30_000);
  expect(await bench.sums()).toEqual({ rows: 5, events: 5, chargePicoUsd: 5n * CHARGE });
  const letters = await second.database.query(
    'SELECT partition, "offset"::integer, class FROM dead_letter',
  );
  expect(letters.rows).toEqual([{ partition: 0, offset: 1, class: 'not_json' }]);
}, 180_000);
