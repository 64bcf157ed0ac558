/**
 * Guarantee: every terminal record is in the ledger exactly once, whatever fails on the way, and the
 * budgets are told of every batch.
 * Method: metering on a real PostgreSQL, its event log, and the embedded ClickHouse engine.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';

import { TOPICS, type RequestCompletedV1 } from '#libs/events';
import { SystemClock } from '#libs/kernel';
import { rpcClient } from '#libs/platform/rpc';
import { eventually, openChdbDatabase, type ChdbDatabase, type TestPostgres } from '#libs/testing';
import { ClickHouseUsageStore } from '#libs/usage/adapters';
import { METERING_PROGRESS_METHODS, type MeteringProgress } from '#libs/usage/core';

import {
  FaultyStore,
  ledgerSums,
  ratedMessages,
  startMember,
  startMeteringPostgres,
  type Member,
} from './metering-fixture.js';
import { completed, keyInPartition, rejected, SampleEmitter } from './sample-events.js';

/** What one sample attempt is charged, pUSD. */
const CHARGE = 2_000_000_000n;
const clock = new SystemClock();

let postgres: TestPostgres;
let chdb: ChdbDatabase;
let store: FaultyStore;
let emitter: SampleEmitter;
let members: Member[];

beforeEach(async () => {
  postgres = await startMeteringPostgres();
  chdb = openChdbDatabase();
  store = new FaultyStore(new ClickHouseUsageStore(chdb.engine));
  emitter = new SampleEmitter();
  members = [];
});

afterEach(async () => {
  for (const member of members) await member.stop();
  await store.close();
  await chdb.drop();
  await postgres.stop();
});

// One database stays open for the whole file, so that the server does not start anew per test.
let keeper: TestPostgres;
beforeAll(async () => {
  keeper = await startMeteringPostgres();
});
afterAll(() => keeper.stop());

async function member(): Promise<Member> {
  const started = await startMember(postgres.url, store);
  members.push(started);
  return started;
}

function sample(number: number, changes: Partial<RequestCompletedV1> = {}): RequestCompletedV1 {
  return completed(number, changes, clock.nowMs());
}

async function caughtUp(at: Member): Promise<void> {
  await eventually(async () => {
    const { rows } = await at.database.query<{ topic: string; partition: number; next: bigint }>(
      'SELECT topic, partition, next_offset AS next FROM log_position',
    );
    const open = await Promise.all(
      rows.map(async ({ topic, partition, next }) => {
        const bounds = await at.eventLog.bounds(topic, partition);
        return bounds.next > next;
      }),
    );
    return rows.length === 6 && !open.includes(true);
  });
}

/** Grows by one with each partition that changes hands. */
async function epochSum(at: Member): Promise<bigint> {
  const { rows } = await at.database.query<{ n: string }>(
    'SELECT sum(epoch) AS n FROM log_position',
  );
  return BigInt(rows[0]!.n);
}

async function count(at: Member, table: string): Promise<bigint> {
  const { rows } = await at.database.query<{ n: bigint }>(`SELECT count(*) AS n FROM ${table}`);
  return rows[0]!.n;
}

describe('once', () => {
  test('no message to the budgets is above 512 KiB, and together they say everything', async () => {
    const at = await member();
    const longIds = Array.from({ length: 1200 }, (_, number) =>
      emitter.completed(sample(number + 1, { user_id: `${number}-${'ü'.repeat(250)}` })),
    );
    await at.eventLog.append(longIds);
    await caughtUp(at);
    await eventually(async () => {
      const messages = await ratedMessages(at.eventLog);
      const ends = messages.map(({ source }) => Number(source.last));
      return Math.max(-1, ...ends) === 1199;
    });
    const messages = await ratedMessages(at.eventLog);
    expect(messages.length).toBeGreaterThan(1);
    for (const message of messages) {
      expect(Buffer.byteLength(JSON.stringify(message))).toBeLessThanOrEqual(512 * 1024);
    }
    const charges = messages.flatMap(({ subjects }) =>
      subjects.filter(({ scope }) => scope === 'key').map((one) => BigInt(one.charge_pusd)),
    );
    expect(charges.reduce((sum, charge) => sum + charge, 0n)).toBe(1200n * CHARGE);
    expect((await ledgerSums(chdb.engine)).events).toBe(1200);
  });

  test('attempts and refusals reach the ledger, and the budgets hear of every batch', async () => {
    const at = await member();
    const hold = { hold_id: 'h.1', budgets: [] };
    await at.eventLog.append([
      emitter.completed(sample(1, { hold })),
      emitter.completed(sample(2, { key_id: keyInPartition(1) })),
      emitter.rejected(rejected(3, {}, clock.nowMs())),
    ]);
    await caughtUp(at);
    expect(await ledgerSums(chdb.engine)).toEqual({
      rows: 2,
      events: 2,
      chargePicoUsd: 2n * CHARGE,
    });
    const refusals = await at.database.query<{ row_count: number }>(
      `SELECT row_count FROM sink_plan WHERE topic = 'request.rejected'`,
    );
    expect(refusals.rows).toEqual([{ row_count: 1 }]);
    await eventually(async () => (await ratedMessages(at.eventLog)).length === 2);
    const messages = await ratedMessages(at.eventLog);
    expect(messages.flatMap(({ holds }) => holds)).toEqual([
      { hold_id: 'h.1', charge_pusd: CHARGE.toString(), provenance: 'measured' },
    ]);
  });

  test('a redelivered batch adds no second row, and its range is reported all the same', async () => {
    const at = await member();
    const records = [1, 2, 3].map((number) => emitter.completed(sample(number)));
    await at.eventLog.append(records);
    await caughtUp(at);
    await at.eventLog.append(records);
    await caughtUp(at);
    expect(await ledgerSums(chdb.engine)).toEqual({
      rows: 3,
      events: 3,
      chargePicoUsd: 3n * CHARGE,
    });
    await eventually(async () => {
      const ranges = (await ratedMessages(at.eventLog)).map(({ source }) => source.last);
      return ranges.includes('5');
    });
    const { rows } = await at.database.query<{ high_seq: bigint }>(
      'SELECT high_seq FROM emitter_watermark',
    );
    expect(rows).toEqual([{ high_seq: 3n }]);
  });

  test('a replay from offset 0 changes nothing anywhere', async () => {
    const first = await member();
    await first.eventLog.append([1, 2].map((number) => emitter.completed(sample(number))));
    await caughtUp(first);
    await eventually(async () => (await ratedMessages(first.eventLog)).length === 1);
    await first.stop();
    const admin = postgres.database('metering');
    await admin.query('UPDATE log_position SET next_offset = 0');
    const second = await member();
    await second.eventLog.append([emitter.completed(sample(3))]);
    await eventually(async () => (await ledgerSums(chdb.engine)).rows === 3);
    await eventually(async () => (await ratedMessages(second.eventLog)).length === 2);
    expect(await count(second, 'sink_plan')).toBe(2n);
  });
});

describe('uncertain inserts', () => {
  test('an insert that took place but failed to say so is found by verification', async () => {
    let failures = 0;
    store.afterInsert = async () => {
      if (failures++ === 0) throw new Error('connection reset');
    };
    const at = await member();
    await at.eventLog.append([emitter.completed(sample(1))]);
    await caughtUp(at);
    expect(await ledgerSums(chdb.engine)).toMatchObject({ rows: 1, chargePicoUsd: CHARGE });
  });

  test('an insert that did not take place is made again under another token', async () => {
    const tokens: string[] = [];
    store.beforeInsert = async ({ token }) => {
      tokens.push(token);
      if (tokens.length < 3) throw new Error('connection refused');
    };
    const at = await member();
    await at.eventLog.append([emitter.completed(sample(1))]);
    await caughtUp(at);
    expect(tokens.map((token) => token.replace(/^[0-9a-f]{64}/, 'id'))).toEqual([
      'id',
      'id:r1',
      'id:r2',
    ]);
    expect(await ledgerSums(chdb.engine)).toMatchObject({ rows: 1, chargePicoUsd: CHARGE });
  });

  test('rows that are missing are added, rows too many are replaced', async () => {
    store.beforeInsert = async (key, rows) => {
      store.beforeInsert = async () => undefined;
      await store.inner.insertUsage({ ...key, token: `${key.batchId}:part` }, rows.slice(0, 2));
      throw new Error('cut inside the body');
    };
    const at = await member();
    await at.eventLog.append([1, 2, 3].map((number) => emitter.completed(sample(number))));
    await caughtUp(at);
    expect(await ledgerSums(chdb.engine)).toEqual({
      rows: 3,
      events: 3,
      chargePicoUsd: 3n * CHARGE,
    });

    store.beforeInsert = async (key, rows) => {
      store.beforeInsert = async () => undefined;
      await store.inner.insertUsage({ ...key, token: `${key.batchId}:twice` }, [...rows, ...rows]);
      throw new Error('an answer was lost');
    };
    await at.eventLog.append([4, 5].map((number) => emitter.completed(sample(number))));
    await caughtUp(at);
    expect(await ledgerSums(chdb.engine)).toEqual({
      rows: 5,
      events: 5,
      chargePicoUsd: 5n * CHARGE,
    });
  });

  test('a batch left prepared by a dead owner is finished by the next before anything else', async () => {
    const first = await member();
    const outage = async (): Promise<void> => {
      throw new Error('the engine is away');
    };
    store.afterInsert = outage;
    store.beforeDigest = outage;
    await first.eventLog.append([emitter.completed(sample(1))]);
    await eventually(async () => (await ledgerSums(chdb.engine)).rows === 1);
    await first.stop();
    const admin = postgres.database('metering');
    const left = await admin.query<{ state: string }>('SELECT state FROM sink_plan');
    expect(left.rows).toEqual([{ state: 'PREPARED' }]);

    store.afterInsert = async () => undefined;
    store.beforeDigest = async () => undefined;
    const second = await member();
    await second.eventLog.append([emitter.completed(sample(2))]);
    await caughtUp(second);
    expect(await ledgerSums(chdb.engine)).toEqual({
      rows: 2,
      events: 2,
      chargePicoUsd: 2n * CHARGE,
    });
    await eventually(async () => (await ratedMessages(second.eventLog)).length === 2);
  });

  test('the late insert of an owner that only seemed dead adds nothing', async () => {
    const first = await member();
    let late: (() => Promise<void>) | undefined;
    store.beforeInsert = async (key, rows) => {
      late ??= () => store.inner.insertUsage(key, rows);
      throw new Error('frozen');
    };
    store.beforeDigest = async () => {
      throw new Error('frozen');
    };
    await first.eventLog.append([emitter.completed(sample(1))]);
    await eventually(() => late !== undefined);
    await first.stop();
    store.beforeInsert = async () => undefined;
    store.beforeDigest = async () => undefined;
    const second = await member();
    await caughtUp(second);
    await late!();
    expect(await ledgerSums(chdb.engine)).toEqual({ rows: 1, events: 1, chargePicoUsd: CHARGE });
  });

  test('rows of a finished batch that the engine lost are put back at the next start', async () => {
    const first = await member();
    await first.eventLog.append([1, 2].map((number) => emitter.completed(sample(number))));
    await caughtUp(first);
    await first.stop();
    const admin = postgres.database('metering');
    const plans = await admin.query<{ batch_id: string }>('SELECT batch_id FROM sink_plan');
    for (const { batch_id } of plans.rows) await store.deleteBatch('usage', batch_id);
    expect(await ledgerSums(chdb.engine)).toMatchObject({ rows: 0 });
    const second = await member();
    await caughtUp(second);
    await eventually(async () => (await ledgerSums(chdb.engine)).rows === 2);
    expect(await ledgerSums(chdb.engine)).toMatchObject({ chargePicoUsd: 2n * CHARGE });
  });
});

describe('bad records', () => {
  test('a poison record is parked with its raw bytes and its partition moves on', async () => {
    const at = await member();
    const poison = { ...emitter.completed(sample(1)), value: Buffer.from([0xff, 0x00, 0x7b]) };
    await at.eventLog.append([poison, emitter.completed(sample(2))]);
    await caughtUp(at);
    expect(await ledgerSums(chdb.engine)).toMatchObject({ rows: 1, chargePicoUsd: CHARGE });
    const { rows } = await at.database.query<{ class: string; payload: Buffer; offset: bigint }>(
      'SELECT class, payload, "offset" FROM dead_letter',
    );
    expect(rows).toEqual([
      { class: 'not_json', payload: Buffer.from([0xff, 0x00, 0x7b]), offset: 0n },
    ]);
  });

  test('whatever a poison record names, its partition moves on', async () => {
    const at = await member();
    await at.eventLog.append([
      emitter.completed(sample(1, { usage: { '\0': 1 } })),
      emitter.completed(sample(2, { user_id: 'a\0b' })),
      { ...emitter.completed(sample(3)), headers: { ce_type: '\0' } },
      emitter.completed(sample(4, {}), 4n),
    ]);
    await caughtUp(at);
    const { rows } = await at.database.query('SELECT "offset" FROM dead_letter ORDER BY 1');
    expect(rows).toEqual([{ offset: 0n }, { offset: 1n }, { offset: 2n }]);
  });

  test('a broken record whose hold can be read stays booked at it', async () => {
    const at = await member();
    const record = emitter.completed(sample(1, { hold: { hold_id: 'h.9', budgets: [] } }));
    const broken = JSON.parse(Buffer.from(record.value).toString()) as Record<string, unknown>;
    broken['usage'] = 'many';
    await at.eventLog.append([{ ...record, value: Buffer.from(JSON.stringify(broken)) }]);
    await caughtUp(at);
    expect(await ledgerSums(chdb.engine)).toMatchObject({ rows: 1, chargePicoUsd: 5_000_000_000n });
    expect(await count(at, 'dead_letter')).toBe(1n);
    await eventually(
      async () => (await ratedMessages(at.eventLog))[0]?.holds[0]?.hold_id === 'h.9',
    );
  });

  test('a record of a newer major version stops its partition alone, and nothing is skipped', async () => {
    const at = await member();
    const record = emitter.completed(sample(1));
    const newer = { ...record, headers: { ...record.headers, ce_type: 'request.completed.v2' } };
    await at.eventLog.append([newer, emitter.completed(sample(2))]);
    await at.eventLog.append([emitter.completed(sample(3, { key_id: keyInPartition(1) }))]);
    await eventually(async () => (await ledgerSums(chdb.engine)).rows === 1);
    await eventually(async () =>
      (await at.runtime.metrics.metrics()).includes(
        'metering_partition_stopped{topic="request.completed",partition="0"} 1',
      ),
    );
    const { rows } = await at.database.query<{ next_offset: bigint }>(
      `SELECT next_offset FROM log_position WHERE topic = $1 AND partition = 0`,
      [TOPICS.requestCompleted],
    );
    expect(rows).toEqual([{ next_offset: 0n }]);
    expect(await count(at, 'dead_letter')).toBe(0n);
  });
});

test('progress names what is missing, and how far the ledger is complete', async () => {
  const at = await member();
  const progress = rpcClient<MeteringProgress>(
    at.rpc,
    'metering.progress',
    METERING_PROGRESS_METHODS,
  );
  await at.eventLog.append([emitter.completed(sample(1)), emitter.completed(sample(4), 4n)]);
  await caughtUp(at);
  const seen = await progress.progress();
  expect(seen.completeThroughMs).toBeLessThanOrEqual(clock.nowMs());
  const whileMissing = await eventually(async () => {
    const now = await progress.progress();
    return now.completeThroughMs < clock.nowMs() - 50 && now;
  });
  expect(seen.missing).toEqual([
    { emitterId: emitter.emitterId, lane: 0, fromSeq: '2', toSeq: '3' },
  ]);
  await at.eventLog.append([emitter.completed(sample(2), 2n), emitter.completed(sample(3), 3n)]);
  await caughtUp(at);
  const before = clock.nowMs();
  await eventually(async () => (await progress.progress()).completeThroughMs >= before);
  expect(before).toBeGreaterThan(whileMissing.completeThroughMs);
  expect((await progress.progress()).missing).toEqual([]);
  expect(await ledgerSums(chdb.engine)).toMatchObject({ rows: 4 });

  store.beforeInsert = async () => {
    throw new Error('the engine is away');
  };
  store.beforeDigest = store.beforeInsert as () => Promise<void>;
  const waitingSince = clock.nowMs();
  await at.eventLog.append([emitter.completed(sample(5), 5n)]);
  const behind = await eventually(async () => {
    const now = await progress.progress();
    return now.completeThroughMs < clock.nowMs() - 50 && now;
  });
  expect(behind.completeThroughMs).toBeGreaterThanOrEqual(waitingSince - 1_000);
  store.beforeInsert = async () => undefined;
  store.beforeDigest = async () => undefined;
  await caughtUp(at);
});

test('two members that join and leave lose nothing and double nothing', async () => {
  const steady = await member();
  let number = 0;
  for (let round = 1; round <= 5; round += 1) {
    // A leave and the next join may be one change to the group, so only growth is certain.
    const before = await epochSum(steady);
    const other = await startMember(postgres.url, store);
    await eventually(async () => (await epochSum(steady)) > before);
    for (let batch = 0; batch < 10; batch += 1) {
      const records = Array.from({ length: 20 }, () => {
        number += 1;
        return emitter.completed(sample(number, { key_id: keyInPartition(number % 3) }));
      });
      await steady.eventLog.append(records);
    }
    await other.stop();
  }
  await caughtUp(steady);
  const sums = await ledgerSums(chdb.engine);
  expect(sums).toEqual({ rows: number, events: number, chargePicoUsd: BigInt(number) * CHARGE });
  await eventually(async () => {
    const messages = await ratedMessages(steady.eventLog);
    const key = messages.flatMap(({ subjects }) => subjects).filter(({ scope }) => scope === 'key');
    const told = key.reduce((sum, { charge_pusd }) => sum + BigInt(charge_pusd), 0n);
    return told === sums.chargePicoUsd;
  });
});
