/**
 * Guarantee: rows of finished batches that the engine lost are put back at the next start exactly as
 * they were sealed and told to the budgets, however long the outage was and whatever release starts;
 * where this release would make other rows, that partition alone stops and says how to go on.
 * Method: metering on a real PostgreSQL, its event log, and the embedded ClickHouse engine, whose rows
 * are removed; a plan of other rules is one that is said to be.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';

import { TOPICS } from '#libs/events';
import { eventually, type TestPostgres } from '#libs/testing';

import { CHARGE, MeteringBench } from './metering-bench.js';
import { startMeteringPostgres, type Member } from './metering-fixture.js';
import { keyInPartition } from './sample-events.js';

let keeper: TestPostgres;
let bench: MeteringBench;

beforeAll(async () => {
  keeper = await startMeteringPostgres();
});
afterAll(() => keeper.stop());
beforeEach(async () => {
  bench = await MeteringBench.open();
});
afterEach(() => bench.close());

/** Two attempts in partition 0 and one in partition 1, finished by a member that is gone. */
async function finished(): Promise<void> {
  const member = await bench.member();
  await member.eventLog.append([
    bench.emitter.completed(bench.sample(1)),
    bench.emitter.completed(bench.sample(2)),
    bench.emitter.completed(bench.sample(3, { key_id: keyInPartition(1) })),
  ]);
  await bench.caughtUp(member);
  await member.stop();
}

/** Changes plans of partition 0. @returns their batches */
async function changePlans(assignments: string): Promise<readonly string[]> {
  const { rows } = await bench.postgres.database(null).query<{ batch_id: string }>(
    `UPDATE metering.sink_plan SET ${assignments}
     WHERE topic = '${TOPICS.requestCompleted}' AND partition = 0 RETURNING batch_id`,
  );
  return rows.map(({ batch_id: batchId }) => batchId);
}

async function loseRows(batchIds: readonly string[]): Promise<void> {
  for (const batchId of batchIds) await bench.store.deleteBatch('usage', batchId);
  expect(await bench.sums()).toMatchObject({ rows: 1 });
}

async function expectWhole(at: Member, rows: number): Promise<void> {
  await bench.caughtUp(at);
  expect(await bench.sums()).toEqual({ rows, events: rows, chargePicoUsd: BigInt(rows) * CHARGE });
}

test('an outage of any length before the start does not keep lost rows from coming back', async () => {
  await finished();
  await loseRows(await changePlans(`done_at = done_at - interval '3 days'`));
  const at = await bench.member();
  await eventually(async () => (await bench.sums()).rows === 3);
  await expectWhole(at, 3);
});

test('rows of plans of a release that did not write where they were read from come back too', async () => {
  await finished();
  await loseRows(await changePlans('read_from = NULL'));
  const at = await bench.member();
  await eventually(async () => (await bench.sums()).rows === 3);
  await expectWhole(at, 3);
});

describe('after a change of the rating rules', () => {
  test('batches that are there are left alone, whatever rules rated them', async () => {
    await finished();
    await changePlans('rater = rater + 1');
    const at = await bench.member();
    await at.eventLog.append([bench.emitter.completed(bench.sample(4))]);
    await expectWhole(at, 4);
    expect(at.errors).toEqual([]);
  });

  test('lost rows come back where the new rules give the same sums', async () => {
    await finished();
    await loseRows(await changePlans('rater = rater + 1'));
    const at = await bench.member();
    await eventually(async () => (await bench.sums()).rows === 3);
    await expectWhole(at, 3);
  });

  test('lost rows that would be others stop their partition alone until the release of then puts them back', async () => {
    await finished();
    const others = `rater = rater + 1, charge_usd = charge_usd + 1, done_at = done_at - interval '1 hour'`;
    const batchIds = await changePlans(others);
    await loseRows(batchIds);
    const at = await bench.member();
    const line = await eventually(
      () => at.errors.find((each) => each.includes('was rated by rules')) ?? false,
    );
    expect((JSON.parse(line) as { readonly reason: string }).reason).toBe(
      `batch ${batchIds[0]}, offsets 0 to 1 of request.completed/0, was rated by rules 3 and amounts ` +
        'to something else by rules 2; start the release of rules 3, which makes it again as it was',
    );
    // The other partitions go on, and the process counts as ready.
    await at.eventLog.append([
      bench.emitter.completed(bench.sample(4)),
      bench.emitter.completed(bench.sample(5, { key_id: keyInPartition(1) })),
    ]);
    await bench.reached(at, 1, 2n, 30_000);
    expect(await bench.sums()).toMatchObject({ rows: 2 });
    expect(await at.runtime.metrics.metrics()).toContain(
      'metering_partition_stopped{topic="request.completed",partition="0"} 1',
    );
    await eventually(async () => (await at.runtime.health.readiness()).ready);
    // As the release of those rules would find it.
    await changePlans('rater = rater - 1, charge_usd = charge_usd - 1');
    await eventually(async () => (await bench.sums()).rows === 5, { deadlineMs: 60_000 });
    await expectWhole(at, 5);
  });
});
