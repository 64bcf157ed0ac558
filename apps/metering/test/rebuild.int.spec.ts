/**
 * Guarantee: a rollup or a ledger that was damaged is found out and made whole, from rows and from the
 * log, without touching what is right; nothing is visible before its seal, and what nobody committed
 * goes away.
 * Method: metering on a real PostgreSQL, its event log and the embedded engine, asked over HTTP.
 */
import { createHash } from 'node:crypto';

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';

import { PostgresEventLog } from '#libs/event-log/adapters';
import { TOPICS, type RequestCompletedV1 } from '#libs/events';
import { SystemClock, SystemRandom, toRfc3339 } from '#libs/kernel';
import type { ClickHouseSession } from '#libs/platform/clickhouse';
import { createRuntime } from '#libs/platform/telemetry';
import { eventually, openChdbDatabase, type ChdbDatabase, type TestPostgres } from '#libs/testing';
import {
  ClickHouseLedgerUpkeep,
  ClickHouseUsageReader,
  ClickHouseUsageStore,
} from '#libs/usage/adapters';
import type { UsageSums } from '#libs/usage/core';

import type { RebuildOnWire } from '../src/rebuild/rebuilds.controller.js';
import { OrphanSweep } from '../src/sealing/orphan-sweep.js';
import { RollupCheck } from '../src/sealing/rollup-check.js';
import { RollupMerging } from '../src/sealing/rollup-merging.js';
import { SealMetrics } from '../src/sealing/seal-metrics.js';
import {
  FaultyStore,
  ledgerSums,
  startMember,
  startMeteringPostgres,
  type Member,
} from './metering-fixture.js';
import { completed, keyInPartition, PARTITIONS, rejected, SampleEmitter } from './sample-events.js';

const CHARGE = 2_000_000_000n;
const ADMIN = 'an-operator-secret';
const HOUR_MS = 3_600_000;
const clock = new SystemClock();

let postgres: TestPostgres;
let chdb: ChdbDatabase;
let store: FaultyStore;
let upkeep: ClickHouseLedgerUpkeep;
let reader: ClickHouseUsageReader;
let session: ClickHouseSession;
let emitter: SampleEmitter;
let members: Member[];

beforeEach(async () => {
  postgres = await startMeteringPostgres();
  chdb = openChdbDatabase();
  store = new FaultyStore(new ClickHouseUsageStore(chdb.engine));
  upkeep = new ClickHouseLedgerUpkeep(chdb.engine);
  reader = new ClickHouseUsageReader(chdb.engine);
  session = chdb.engine.session('write');
  emitter = new SampleEmitter();
  members = [];
});
afterEach(async () => {
  for (const member of members) await member.stop();
  await session.close();
  await reader.close();
  await upkeep.close();
  await store.close();
  await chdb.drop();
  await postgres.stop();
});

let keeper: TestPostgres;
beforeAll(async () => {
  keeper = await startMeteringPostgres();
});
afterAll(() => keeper.stop());

async function member(): Promise<Member> {
  const started = await startMember(postgres.url, store, {
    ledgerUpkeep: upkeep,
    adminApiKey: ADMIN,
  });
  members.push(started);
  return started;
}

function sample(number: number, changes: Partial<RequestCompletedV1> = {}): RequestCompletedV1 {
  return completed(number, changes, clock.nowMs());
}

/** Figures as reporting reads them: of whole hours, hence from the rollup. */
async function figures(): Promise<UsageSums | undefined> {
  const hour = Math.floor(clock.nowMs() / HOUR_MS) * HOUR_MS;
  const found = await reader.sums({
    orgId: 'default',
    startMs: hour - HOUR_MS,
    endMs: hour + 2 * HOUR_MS,
    keyIds: [],
    teamIds: [],
    userIds: [],
    models: [],
    providers: [],
    bucket: 'none',
    groupBy: [],
    maxRows: 10,
  });
  return found[0];
}

async function given(at: Member, count: number): Promise<void> {
  for (let number = 1; number <= count; number += 1) {
    const key = keyInPartition(number % 3);
    await at.eventLog.append([emitter.completed(sample(number, { key_id: key }))]);
  }
  await at.eventLog.append([emitter.rejected(rejected(count + 1, {}, clock.nowMs()))]);
  await eventually(async () => (await figures())?.requests === count);
  // The figures say nothing of the refusal, which is a batch of its own.
  await eventually(async () => {
    const { rows } = await at.database.query<{ rows: bigint; waiting: bigint }>(
      `SELECT coalesce(sum(row_count), 0)::bigint AS rows,
         count(*) FILTER (WHERE done_at IS NULL) AS waiting FROM seal_queue`,
    );
    return rows[0]!.rows === BigInt(count + 1) && rows[0]!.waiting === 0n;
  });
}

async function call(at: Member, method: 'GET' | 'POST', path: string, payload?: object) {
  const server = (at.app as NestFastifyApplication).getHttpAdapter().getInstance();
  const response = await server.inject({
    method,
    url: path,
    headers: { authorization: `ADMIN ${ADMIN}` },
    ...(payload === undefined ? {} : { payload }),
  });
  return { status: response.statusCode, body: JSON.parse(response.body) as RebuildOnWire };
}

/** Starts a rebuild and waits for its end. */
async function rebuild(at: Member, asked: object): Promise<RebuildOnWire> {
  const started = await call(at, 'POST', '/api/rebuilds', asked);
  expect(started.status).toBe(202);
  return eventually(async () => {
    const { body } = await call(at, 'GET', `/api/rebuilds/${started.body.id}`);
    return body.state !== 'running' && body;
  });
}

test('a batch is visible once it is sealed, and a dead sealer leaves nothing behind', async () => {
  const at = await member();
  const insertSeals = store.insertSeals.bind(store);
  store.insertSeals = async (seals, sealedAtMs) => {
    await insertSeals(seals, sealedAtMs);
    store.insertSeals = insertSeals;
    throw new Error('the answer was lost');
  };
  await given(at, 3);
  expect(await figures()).toMatchObject({ requests: 3, chargePicoUsd: 3n * CHARGE });
  const { rows } = await at.database.query<{ n: bigint }>(
    'SELECT count(*) AS n FROM seal_queue WHERE done_at IS NOT NULL',
  );
  expect(rows[0]!.n).toBe(4n);
});

test('a damaged rollup is found and repaired; a whole one is left alone', async () => {
  const at = await member();
  await given(at, 6);
  const whole = await rebuild(at, { kind: 'rollups' });
  expect(whole).toMatchObject({ state: 'done', differing: 0, repaired: 0, error: null });
  expect(whole.done).toBe(whole.total);
  await session.run({
    name: 'test.damage',
    sql: 'ALTER TABLE rollup_hour UPDATE charge_usd = charge_usd + 1 WHERE 1',
  });
  expect((await figures())?.chargePicoUsd).not.toBe(6n * CHARGE);
  const seen = await rebuild(at, { kind: 'rollups', apply: false });
  expect(seen).toMatchObject({ state: 'done', repaired: 0 });
  expect(seen.differing).toBeGreaterThan(0);
  expect(seen.differences[0]).toMatchObject({ outcome: 'reported' });
  const mended = await rebuild(at, { kind: 'rollups' });
  expect(mended.repaired).toBe(seen.differing);
  expect(await figures()).toMatchObject({ requests: 6, chargePicoUsd: 6n * CHARGE });
});

test('a ledger row that is gone is found, and put back with its rollup when asked to', async () => {
  const at = await member();
  await given(at, 6);
  await session.run({
    name: 'test.damage',
    sql: 'DELETE FROM raw_usage_v1 WHERE event_id IN (SELECT min(event_id) FROM raw_usage_v1)',
  });
  await session.run({ name: 'test.damage', sql: 'TRUNCATE TABLE raw_rejection_v1' });
  expect(await ledgerSums(chdb.engine)).toMatchObject({ rows: 5 });
  const seen = await rebuild(at, { kind: 'ledger' });
  expect(seen).toMatchObject({ state: 'done', differing: 2, repaired: 0, apply: false });
  expect(await ledgerSums(chdb.engine)).toMatchObject({ rows: 5 });
  const mended = await rebuild(at, { kind: 'ledger', apply: true });
  expect(mended).toMatchObject({ state: 'done', differing: 2, repaired: 2 });
  expect(mended.differences.map(({ outcome }) => outcome)).toEqual(['repaired', 'repaired']);
  expect(await ledgerSums(chdb.engine)).toEqual({
    rows: 6,
    events: 6,
    chargePicoUsd: 6n * CHARGE,
  });
  expect(await figures()).toMatchObject({ requests: 6 });
  const again = await rebuild(at, { kind: 'ledger', apply: true });
  // How many batches the seven records came in depends on the machine; every one is looked at.
  const { total } = mended;
  expect(total).toBeGreaterThanOrEqual(2);
  expect(again).toMatchObject({ state: 'done', differing: 0, total, done: total, compared: 7 });
});

test('rows put back count again after sums without them were written, also by a process that starts anew', async () => {
  for (const round of [1, 2]) {
    const at = await member();
    // A partition is verified before it takes a record: from then on only rebuilds put rows back.
    for (let partition = 0; partition < PARTITIONS; partition += 1) {
      const changes = { key_id: keyInPartition(partition) };
      await at.eventLog.append([
        emitter.completed(sample(round * PARTITIONS + partition, changes)),
      ]);
    }
    const count = round * PARTITIONS;
    await eventually(async () => (await figures())?.requests === count);
    await session.run({ name: 'test.damage', sql: 'DELETE FROM raw_usage_v1 WHERE 1' });
    expect((await rebuild(at, { kind: 'rollups' })).repaired).toBeGreaterThan(0);
    expect(await figures()).toBeUndefined();
    expect(await rebuild(at, { kind: 'ledger', apply: true })).toMatchObject({ repaired: count });
    expect(await ledgerSums(chdb.engine)).toMatchObject({ rows: count, events: count });
    expect(await figures()).toMatchObject({
      requests: count,
      chargePicoUsd: BigInt(count) * CHARGE,
    });
    expect(await rebuild(at, { kind: 'rollups' })).toMatchObject({ state: 'done', differing: 0 });
    await at.stop();
  }
});

test('a batch that other rating rules made counts as whole while its rows are there, and is named when not', async () => {
  const at = await member();
  await given(at, 1);
  // As rules made them by which each row came to a dollar more.
  await postgres.database('metering').query(
    `UPDATE sink_plan SET rater = rater + 1, charge_usd = charge_usd + 1
     WHERE topic = '${TOPICS.requestCompleted}'`,
  );
  await session.run({
    name: 'test.damage',
    sql: 'ALTER TABLE raw_usage_v1 UPDATE charge_usd = charge_usd + 1 WHERE 1',
  });
  expect(await rebuild(at, { kind: 'ledger' })).toMatchObject({ state: 'done', differing: 0 });
  await session.run({ name: 'test.damage', sql: 'TRUNCATE TABLE raw_usage_v1' });
  const seen = await rebuild(at, { kind: 'ledger', apply: true });
  expect(seen).toMatchObject({ state: 'done', differing: 1, repaired: 0 });
  expect(seen.differences[0]).toMatchObject({ outcome: 'formed_otherwise', rebuilt: null });
  expect(await ledgerSums(chdb.engine)).toMatchObject({ rows: 0 });
});

test('a replay from zero changes neither rows nor figures', async () => {
  const first = await member();
  await given(first, 6);
  const before = await figures();
  await first.stop();
  await postgres.database('metering').query('UPDATE log_position SET next_offset = 0');
  const second = await member();
  await second.eventLog.append([emitter.completed(sample(8))]);
  await eventually(async () => (await figures())?.requests === 7);
  expect((await figures())?.chargePicoUsd).toBe(before!.chargePicoUsd + CHARGE);
  expect(await rebuild(second, { kind: 'rollups' })).toMatchObject({ differing: 0 });
  expect(await rebuild(second, { kind: 'ledger' })).toMatchObject({ differing: 0 });
});

test('a batch whose range begins with records it never read is made anew like any other', async () => {
  const log = new PostgresEventLog({
    database: postgres.database('metering'),
    clock,
    random: new SystemRandom(),
  });
  const expired = [1, 2].map((n) => emitter.completed(sample(n, { key_id: keyInPartition(0) })));
  await log.append(expired);
  await log.close();
  await postgres
    .database(null)
    .query('SELECT event_log.trim_before($1, 0, 2)', [TOPICS.requestCompleted]);
  const at = await member();
  await given(at, 3);
  const { rows } = await at.database.query<{ first: bigint }>(
    `SELECT min(first_offset) AS first FROM sink_plan WHERE topic = $1 AND partition = 0`,
    [TOPICS.requestCompleted],
  );
  expect(rows).toEqual([{ first: 0n }]);
  await session.run({ name: 'test.damage', sql: 'TRUNCATE TABLE raw_usage_v1' });
  const from = toRfc3339(clock.nowMs() - HOUR_MS);
  const mended = await rebuild(at, { kind: 'ledger', from, apply: true });
  expect(mended).toMatchObject({ state: 'done', differing: mended.repaired, compared: 4 });
  expect(await ledgerSums(chdb.engine)).toMatchObject({ rows: 3, events: 3 });
});

test('a second start is refused while one runs, and a dead process leaves its rebuild to the next', async () => {
  const at = await member();
  await given(at, 3);
  const admin = postgres.database('metering');
  await admin.query(
    `INSERT INTO rebuild (rebuild_id, kind, from_at, to_at, is_applied, state, report, claimed_until)
     VALUES (gen_random_uuid(), 'ledger', '2000-01-01', '2100-01-01', true, 'running',
       '{"total":4,"done":0,"compared":0,"differing":0,"repaired":0,"differences":[]}',
       clock_timestamp() + interval '1 hour')`,
  );
  const refused = await call(at, 'POST', '/api/rebuilds', { kind: 'rollups' });
  expect(refused).toMatchObject({ status: 409 });
  await admin.query('UPDATE rebuild SET claimed_until = clock_timestamp()');
  await eventually(async () => {
    const { rows } = await admin.query<{ state: string; report: { done: number } }>(
      'SELECT state, report FROM rebuild',
    );
    return rows[0]!.state === 'done' && rows[0]!.report.done === 4;
  });
});

test('ledger rows older than the log are refused, and what is asked wrongly is named', async () => {
  const at = await member();
  await given(at, 3);
  await postgres
    .database('metering')
    .query(`DELETE FROM sink_plan WHERE topic = $1 AND partition = 1`, [TOPICS.requestCompleted]);
  await at.eventLog.append([emitter.completed(sample(9, { key_id: keyInPartition(1) }))]);
  await eventually(async () => (await figures())?.requests === 4);
  const from = '2001-01-01T00:00:00Z';
  const refused = await call(at, 'POST', '/api/rebuilds', { kind: 'ledger', from });
  expect(refused).toMatchObject({ status: 409 });
  expect(JSON.stringify(refused.body)).toContain('no longer holds everything');
  expect(await rebuild(at, { kind: 'ledger' })).toMatchObject({ state: 'done', differing: 0 });
  for (const wrong of [
    {},
    { kind: 'all' },
    { kind: 'ledger', from: 'now' },
    { kind: 'ledger', x: 1 },
  ]) {
    expect((await call(at, 'POST', '/api/rebuilds', wrong)).status).toBe(400);
  }
  expect((await call(at, 'GET', '/api/rebuilds/no-id')).status).toBe(404);
});

test('the hourly job puts closed hours right and merges them, and the sweep removes what nobody committed', async () => {
  const at = await member();
  await given(at, 3);
  const runtime = createRuntime({
    service: 'metering',
    partitions: PARTITIONS,
    logLevel: 'silent',
  });
  const { random, logger } = runtime;
  const metrics = new SealMetrics(runtime.metrics);
  await session.run({ name: 'test.damage', sql: 'DELETE FROM rollup_hour WHERE 1' });
  const later = Object.assign(new SystemClock(), { nowMs: () => clock.nowMs() + 2 * HOUR_MS });
  const check = new RollupCheck({ upkeep, clock: later, random, logger, metrics });
  const { signal } = new AbortController();
  expect(await check.run(signal)).toBeGreaterThan(0);
  expect(await check.run(signal)).toBe(0);
  expect(await figures()).toMatchObject({ requests: 3, chargePicoUsd: 3n * CHARGE });

  const merging = new RollupMerging({ upkeep, clock: later, random, logger, metrics });
  expect(await merging.run(signal)).toBe(3);
  expect(await merging.run(signal)).toBe(0);
  await session.run({ name: 'test.damage', sql: 'TRUNCATE TABLE rollup_merged' });
  expect(await figures()).toBeUndefined();
  const withdrawn = await rebuild(at, { kind: 'rollups' });
  expect(withdrawn.differences[0]?.subject).toMatch(/^merge /);
  expect(await figures()).toMatchObject({ requests: 3, chargePicoUsd: 3n * CHARGE });

  const orphan = createHash('sha256').update('orphan').digest('hex');
  await session.run({
    name: 'test.orphan',
    sql: `INSERT INTO raw_usage_v1 SELECT * REPLACE ('${orphan}' AS batch_id) FROM raw_usage_v1 LIMIT 1`,
  });
  expect(await ledgerSums(chdb.engine)).toMatchObject({ rows: 4 });
  expect(await figures()).toMatchObject({ requests: 3 });
  const sweepAt = (days: number): OrphanSweep => {
    const moved = Object.assign(new SystemClock(), {
      nowMs: () => clock.nowMs() + days * 86_400_000,
    });
    const { database } = at;
    return new OrphanSweep({ database, upkeep, usageStore: store, clock: moved, logger, metrics });
  };
  expect(await sweepAt(0).run(signal)).toBe(0);
  expect(await sweepAt(8).run(signal)).toBe(0);
  expect(await sweepAt(2).run(signal)).toBe(1);
  expect(await ledgerSums(chdb.engine)).toMatchObject({ rows: 3, chargePicoUsd: 3n * CHARGE });
});
