/**
 * Guarantee: a log that lost the end of `usage.rated` or `control` does not stand in the way of the
 * guard: it reads on where the log ends now, asks for the rated batches it missed, also when nothing
 * follows them, and settles each once (C5).
 * Method: the service as a process on a real event log in PostgreSQL, whose last records are dropped
 * as a lost disk would.
 */
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';

import { PostgresEventLog, productTopics, provisionTopics } from '#libs/event-log/adapters';
import { eventHeaders, TOPICS, USAGE_RATED_V1, type UsageRatedV1 } from '#libs/events';
import { parseUsd, SystemClock, SystemRandom } from '#libs/kernel';
import { eventually, type TestPostgres } from '#libs/testing';

import { startBudgetService, type BudgetService } from './budget-service.js';
import { definition, freshKey, Guard, rated, startGuardPostgres } from './guard-fixture.js';
import { startReplayServer } from './replay-service.js';

const SECRET = 'a-secret-of-the-test-services';
/** Guards against waiting for ever. */
const PATIENT = { deadlineMs: 60_000 };

let postgres: TestPostgres;
let eventLog: PostgresEventLog;
let guard: Guard;
const closers: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  postgres = await startGuardPostgres();
  await provisionTopics(postgres.url, productTopics(1));
  guard = new Guard(postgres.database('budget'));
  const clock = new SystemClock();
  const random = new SystemRandom();
  eventLog = new PostgresEventLog({ database: postgres.database('budget'), clock, random });
});
afterEach(async () => {
  await Promise.all(closers.splice(0).map((close) => close()));
});
afterAll(async () => {
  await eventLog.close();
  await postgres.stop();
});

async function startService(meteringUrl: string): Promise<BudgetService> {
  const service = await startBudgetService({
    DATABASE_URL: postgres.url,
    SERVICE_SECRET: SECRET,
    LOG_PARTITIONS: '1',
    METERING_URL: meteringUrl,
    BUDGET_REPLAY_AFTER_MS: '200',
  });
  closers.push(() => service.close('SIGKILL'));
  return service;
}

async function append(topic: string, type: string, values: readonly object[]): Promise<void> {
  const time = '2026-01-01T00:00:00.000Z';
  const id = 'test';
  const headers = eventHeaders({
    id,
    type,
    service: id,
    time,
    subject: id,
    partitionKey: id,
  });
  await eventLog.append(
    values.map((value) => ({
      topic,
      partition: 0,
      key: id,
      headers: { ...headers },
      value: Buffer.from(JSON.stringify(value)),
    })),
  );
}

function send(...batches: readonly UsageRatedV1[]): Promise<void> {
  return append(TOPICS.usageRated, USAGE_RATED_V1, batches);
}

async function position(topic: string): Promise<bigint> {
  const { rows } = await guard.database.query<{ next_offset: bigint }>(
    'SELECT next_offset FROM log_position WHERE topic = $1',
    [topic],
  );
  return rows[0]?.next_offset ?? 0n;
}

/** What a disk that lost its last writes does. */
async function loseAll(topic: string): Promise<void> {
  await postgres.database(null).query(
    `WITH cut AS (
       UPDATE event_log.log_partition SET next_offset = 0
       WHERE topic = $1 AND partition = 0 RETURNING partition_id)
     DELETE FROM event_log.log_record r USING cut WHERE r.partition_id = cut.partition_id`,
    [topic],
  );
}

test('rated batches are settled once, whatever of them the log lost or put where others were', async () => {
  const key = freshKey();
  const budget = definition(key, '1000');
  await guard.authority.applyDefinition(budget);
  const settled = async () => (await guard.authority.figures([budget.budgetId]))[0]!.settledPicoUsd;
  const batches = [0, 1, 2, 3, 4].map((n) => rated([n * 10, n * 10 + 9], [key], '0.01'));
  const replay = await startReplayServer(SECRET, async (fromOffset) =>
    send(...batches.filter(({ source }) => Number(source.first) >= fromOffset)),
  );
  closers.push(() => replay.close());

  const first = await startService(replay.url);
  await send(...batches.slice(0, 3));
  await append(TOPICS.control, 'budget.threshold.v1', [{}, {}, {}]);
  await eventually(async () => (await position(TOPICS.control)) === 3n, PATIENT);
  await eventually(async () => (await settled()) === parseUsd('0.03'), PATIENT);
  await first.close('SIGTERM');
  await loseAll(TOPICS.usageRated);
  await loseAll(TOPICS.control);
  // It gets an offset that was read before.
  await send(batches[3]!);

  await startService(replay.url);
  await eventually(async () => (await position(TOPICS.usageRated)) === 1n, PATIENT);
  await eventually(async () => (await position(TOPICS.control)) === 0n, PATIENT);
  await send(batches[4]!);
  await eventually(async () => (await settled()) === parseUsd('0.05'), PATIENT);
  expect(replay.asked).toContain(30);
  const { next } = await eventLog.bounds(TOPICS.usageRated, 0);
  await eventually(async () => (await position(TOPICS.usageRated)) >= next, PATIENT);
  expect(await settled()).toBe(parseUsd('0.05'));
}, 240_000);

test('a last rated batch that never comes is asked for and settled, though nothing follows', async () => {
  await guard.database.query('TRUNCATE applied_through, applied_batch, parked_batch');
  const key = freshKey();
  const budget = definition(key, '1000');
  await guard.authority.applyDefinition(budget);
  const settled = async () => (await guard.authority.figures([budget.budgetId]))[0]!.settledPicoUsd;
  const batches = [0, 1, 2].map((n) => rated([n * 10, n * 10 + 9], [key], '0.01'));
  const replay = await startReplayServer(
    SECRET,
    async (fromOffset) =>
      send(...batches.filter(({ source }) => Number(source.first) >= fromOffset)),
    () => [{ topic: TOPICS.requestCompleted, partition: 0, nextOffset: '30' }],
  );
  closers.push(() => replay.close());
  await send(...batches.slice(0, 2));
  await startService(replay.url);
  await eventually(async () => (await settled()) === parseUsd('0.03'), PATIENT);
  expect(replay.asked).toContain(20);
  expect(replay.asked.every((offset) => offset <= 20)).toBe(true);
}, 240_000);

test('a first rated batch that never comes is asked for and settled, though nothing follows', async () => {
  await guard.database.query('TRUNCATE applied_through, applied_batch, parked_batch');
  const key = freshKey();
  const budget = definition(key, '1000');
  await guard.authority.applyDefinition(budget);
  const settled = async () => (await guard.authority.figures([budget.budgetId]))[0]!.settledPicoUsd;
  const only = rated([0, 9], [key], '0.01');
  const replay = await startReplayServer(
    SECRET,
    () => send(only),
    () => [{ topic: TOPICS.requestCompleted, partition: 0, nextOffset: '10' }],
  );
  closers.push(() => replay.close());
  await startService(replay.url);
  await eventually(async () => (await settled()) === parseUsd('0.01'), PATIENT);
  expect(new Set(replay.asked)).toEqual(new Set([0]));
}, 240_000);
