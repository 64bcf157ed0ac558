/**
 * Guarantee: what the log no longer has stops its partition with a message that says how to go on; the
 * emitters are asked, what they send again is booked once, whatever was begun before, and figures are
 * not said to be complete beyond the stop; what comes after the step is as safe as any other batch.
 * Method: metering on a real PostgreSQL, its event log, whose records are dropped as retention and a
 * lost disk would, and the embedded ClickHouse engine.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';

import { PostgresEventLog } from '#libs/event-log/adapters';
import { TOPICS, type EmitterRangeV1 } from '#libs/events';
import type { EventLog, LogRecordInput } from '#libs/event-log/core';
import { SystemRandom, toRfc3339 } from '#libs/kernel';
import { rpcClient } from '#libs/platform/rpc';
import { eventually, type TestPostgres } from '#libs/testing';
import {
  METERING_PROGRESS_METHODS,
  RATED_REPLAY_METHODS,
  RATED_REPLAY_SERVICE,
  type MeteringProgress,
  type RatedReplay,
} from '#libs/usage/core';

import { SealQueue } from '../src/sealing/seal-queue.js';
import { LogLedgerProgress } from '../src/sink/ledger-progress.js';
import { StreamStore } from '../src/sink/stream-store.js';
import { CHARGE, MeteringBench } from './metering-bench.js';
import {
  ratedMessages,
  recordsOf,
  startMeteringPostgres,
  type Member,
} from './metering-fixture.js';
import { PARTITIONS } from './sample-events.js';

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

function attempts(from: number, to: number): readonly LogRecordInput[] {
  const numbers = Array.from({ length: to - from + 1 }, (_, n) => from + n);
  return numbers.map((n) => bench.emitter.completed(bench.sample(n)));
}

/** What retention does to partition 0. */
async function dropBefore(offset: number): Promise<void> {
  await bench.postgres
    .database(null)
    .query('SELECT event_log.trim_before($1, 0, $2)', [TOPICS.requestCompleted, offset]);
}

/** What a disk that lost its last writes does to partition 0. */
async function loseFrom(offset: number): Promise<void> {
  await bench.postgres.database(null).query(
    `WITH cut AS (
       UPDATE event_log.log_partition SET next_offset = $2
       WHERE topic = $1 AND partition = 0 RETURNING partition_id)
     DELETE FROM event_log.log_record r USING cut
     WHERE r.partition_id = cut.partition_id AND "offset" >= $2`,
    [TOPICS.requestCompleted, offset],
  );
}

/** What the operator is told to do. */
async function goOnAt(offset: number): Promise<void> {
  await bench.postgres
    .database(null)
    .query(`UPDATE metering.log_position SET next_offset = $2 WHERE topic = $1 AND partition = 0`, [
      TOPICS.requestCompleted,
      offset,
    ]);
}

/** Sequences that the emitter was asked for, in order, as `from-to`. */
async function asked({ eventLog }: Member): Promise<readonly string[]> {
  const records = await recordsOf(eventLog, TOPICS.emitterResend, 0);
  return records.map(({ value }) => {
    const { from_seq, to_seq } = JSON.parse(Buffer.from(value).toString()) as EmitterRangeV1;
    return `${from_seq}-${to_seq}`;
  });
}

/** Waits until partition 0 has stopped, and returns why. */
async function stopReason(at: Member, says = 'holds offsets'): Promise<string> {
  const line = await eventually(() => at.errors.find((each) => each.includes(says)) ?? false, {
    deadlineMs: 60_000,
  });
  expect(await at.runtime.metrics.metrics()).toContain(
    'metering_partition_stopped{topic="request.completed",partition="0"} 1',
  );
  return (JSON.parse(line) as { readonly reason: string }).reason;
}

async function completeThroughMs({ rpc }: Member): Promise<number> {
  const port = rpcClient<MeteringProgress>(rpc, 'metering.progress', METERING_PROGRESS_METHODS);
  return (await port.progress()).completeThroughMs;
}

interface PlanLine {
  readonly first: number;
  readonly last: number;
  readonly state: string;
}

async function plansOf(at: Pick<Member, 'database'>): Promise<readonly PlanLine[]> {
  const { rows } = await at.database.query<PlanLine & Record<string, unknown>>(
    `SELECT first_offset::integer AS first, last_offset::integer AS last, state FROM sink_plan
     WHERE topic = 'request.completed' AND partition = 0 ORDER BY 1`,
  );
  return rows;
}

async function rollupCells(): Promise<number> {
  const session = bench.chdb.engine.session('write');
  try {
    const sql = 'SELECT sum(attempts) AS n FROM (SELECT * FROM rollup_hour FINAL)';
    const [row] = await session.rows<{ n: string }>({ name: 'test.cells', sql });
    return Number(row!.n);
  } finally {
    await session.close();
  }
}

/** A member dies with a batch inserted and not committed. */
async function leaveBegun(records: readonly LogRecordInput[], rows: number): Promise<void> {
  const first = await bench.member();
  await bench.caughtUp(first);
  const away = async (): Promise<void> => {
    throw new Error('the engine is away');
  };
  bench.store.afterInsert = async () => {
    // Not before: a member that still takes its partition looks at what is finished.
    bench.store.beforeDigest = away;
    await away();
  };
  await first.eventLog.append(records);
  await eventually(async () => (await bench.sums()).rows === rows, { deadlineMs: 60_000 });
  await first.stop();
  bench.store.afterInsert = async () => undefined;
  bench.store.beforeDigest = async () => undefined;
}

/** The next insert fails, and so does the look whether it took place: its records are handed over again. */
function failOnce(): { readonly failed: () => boolean } {
  let failed = false;
  bench.store.beforeInsert = async () => {
    bench.store.beforeInsert = async () => undefined;
    bench.store.beforeDigest = async () => {
      bench.store.beforeDigest = async () => undefined;
      failed = true;
      throw new Error('the engine is away');
    };
    throw new Error('the engine is away');
  };
  return { failed: () => failed };
}

/** A disk that changed a record of partition 0. */
async function rewrite(offset: number): Promise<void> {
  await bench.postgres.database(null).query(
    `UPDATE event_log.log_record r SET value = '{}' FROM event_log.log_partition p
     WHERE r.partition_id = p.partition_id AND topic = $1 AND partition = 0 AND "offset" = $2`,
    [TOPICS.requestCompleted, offset],
  );
}

describe('a batch whose records retention took', () => {
  test('is taken back when an operator steps over it, and what comes again is booked once', async () => {
    const records = attempts(1, 6);
    await bench.append(records.slice(0, 1));
    const before = await bench.member();
    await bench.caughtUp(before);
    await before.stop();
    await leaveBegun(records.slice(1, 4), 4);
    await bench.append(records.slice(4));
    await dropBefore(5);

    const at = await bench.member();
    expect(await stopReason(at)).toBe(
      'request.completed/0 holds offsets 5 to 6, but 1 is to be read next; ' +
        'next_offset 5 goes on and asks the emitters for the rest',
    );
    expect(await eventually(async () => (await asked(at)).length > 0 && asked(at))).toEqual([
      '2-5',
    ]);
    expect(await plansOf(at)).toMatchObject([{ state: 'DONE' }, { first: 1, state: 'PREPARED' }]);

    await goOnAt(5);
    await eventually(async () => (await bench.sums()).rows === 2, { deadlineMs: 60_000 });
    await at.eventLog.append(records.slice(1, 5));
    await bench.caughtUp(at);
    expect(await bench.sums()).toEqual({ rows: 6, events: 6, chargePicoUsd: 6n * CHARGE });
    const plans = await plansOf(at);
    expect(plans.map(({ state }) => state)).not.toContain('PREPARED');
    // The budgets hear of every offset once: the range of the next batch begins behind the last one.
    await eventually(async () => (await ratedMessages(at.eventLog)).length === plans.length);
    const rated = await ratedMessages(at.eventLog);
    const ranges = rated.map(({ source: { first, last } }) => [Number(first), Number(last)]);
    expect(ranges.toSorted((a, b) => a[0]! - b[0]!)).toEqual(
      plans.map(({ first, last }) => [first, last]),
    );
    expect(plans.slice(1).map(({ first }) => first)).toEqual(
      plans.slice(0, -1).map(({ last }) => last + 1),
    );
    const charges = rated.flatMap(({ subjects }) =>
      subjects.filter(({ scope }) => scope === 'key').map((one) => BigInt(one.charge_pusd)),
    );
    expect(charges.reduce((sum, charge) => sum + charge, 0n)).toBe(6n * CHARGE);
  });

  test('names the end of the batch when only its head is gone; its tail is asked for too', async () => {
    const records = attempts(1, 5);
    await leaveBegun(records.slice(0, 3), 3);
    await bench.append(records.slice(3));
    await dropBefore(1);

    const at = await bench.member();
    expect(await stopReason(at)).toContain('next_offset 3 goes on');
    await goOnAt(3);
    await eventually(async () => (await bench.sums()).rows === 2, { deadlineMs: 60_000 });
    await eventually(async () => (await asked(at)).includes('1-3'), { deadlineMs: 60_000 });
    await at.eventLog.append(records.slice(0, 3));
    await bench.caughtUp(at);
    expect(await bench.sums()).toEqual({ rows: 5, events: 5, chargePicoUsd: 5n * CHARGE });
  });

  test('is taken back once, however often its owner dies between its rows and its plan', async () => {
    const records = attempts(1, 4);
    await leaveBegun(records.slice(0, 2), 2);
    await bench.append(records.slice(2));
    await dropBefore(2);
    await goOnAt(2);
    for (let deaths = 0; deaths < 2; deaths += 1) {
      let isDead = false;
      bench.store.afterDelete = async () => {
        isDead = true;
        throw new Error('dies');
      };
      const dying = await bench.member();
      await eventually(() => isDead, { deadlineMs: 60_000 });
      await dying.stop();
      expect(await bench.sums()).toMatchObject({ rows: 0 });
      expect(await plansOf({ database: bench.postgres.database('metering') })).toMatchObject([
        { first: 0, last: 1, state: 'PREPARED' },
      ]);
    }
    bench.store.afterDelete = async () => undefined;
    const at = await bench.member();
    await at.eventLog.append(records.slice(0, 2));
    await bench.caughtUp(at);
    expect(await bench.sums()).toEqual({ rows: 4, events: 4, chargePicoUsd: 4n * CHARGE });
    expect(await rollupCells()).toBe(4);
  });
});

describe('a batch behind records that an operator stepped over and the log still has', () => {
  const REWRITTEN = 'are not what was planned';

  /** Attempts 1 to 3 begun, one of them changed; 4 and 5 wait behind the step to offset 3. */
  async function stoppedByRewrite(records: readonly LogRecordInput[]): Promise<Member> {
    await leaveBegun(records.slice(0, 3), 3);
    await bench.append(records.slice(3));
    await rewrite(1);
    const at = await bench.member();
    expect(await stopReason(at, REWRITTEN)).toContain('next_offset 3 gives the batch up');
    return at;
  }

  async function stoppedByExpiry(records: readonly LogRecordInput[]): Promise<Member> {
    await leaveBegun(records.slice(0, 3), 3);
    await bench.append(records.slice(3));
    await dropBefore(1);
    const at = await bench.member();
    expect(await stopReason(at)).toContain('next_offset 3 goes on');
    return at;
  }

  test.each([
    { cause: 'retention took their head', stopped: stoppedByExpiry },
    { cause: 'they were rewritten', stopped: stoppedByRewrite },
  ])('goes on by itself after a failed insert: $cause', async ({ stopped }) => {
    const records = attempts(1, 5);
    const at = await stopped(records);
    const insert = failOnce();
    await goOnAt(3);
    await eventually(async () => insert.failed() && (await bench.sums()).rows === 2, {
      deadlineMs: 30_000,
    });
    await eventually(async () => (await asked(at)).includes('1-3'), { deadlineMs: 60_000 });
    await at.eventLog.append(records.slice(0, 3));
    await bench.caughtUp(at);
    expect(await bench.sums()).toEqual({ rows: 5, events: 5, chargePicoUsd: 5n * CHARGE });
    const plans = await plansOf(at);
    expect(plans[0]).toMatchObject({ first: 0, state: 'DONE' });
    expect(plans.map(({ state }) => state)).not.toContain('PREPARED');
    // Of the batch that was given up it may be said more than once, of no other.
    const rewritten = at.errors.filter((line) => line.includes(REWRITTEN));
    expect(rewritten.filter((line) => !line.includes('offsets 0 to 2 '))).toEqual([]);
  });

  test('is formed again when it is done: its rows and its message come back', async () => {
    const records = attempts(1, 5);
    const before = await stoppedByRewrite(records);
    await goOnAt(3);
    await eventually(async () => (await bench.sums()).rows === 2, { deadlineMs: 60_000 });
    await bench.caughtUp(before);
    const plans = await plansOf(before);
    const told = await eventually(async () => {
      const sent = await ratedMessages(before.eventLog);
      return sent.length === plans.length && sent;
    });
    await before.stop();
    for (const { batch_id: batchId } of told) await bench.store.deleteBatch('usage', batchId);
    expect(await bench.sums()).toMatchObject({ rows: 0 });

    const at = await bench.member();
    await eventually(async () => (await bench.sums()).rows === 2, { deadlineMs: 30_000 });
    expect(await bench.sums()).toEqual({ rows: 2, events: 2, chargePicoUsd: 2n * CHARGE });
    await at.database.query('DELETE FROM outbox');
    await rpcClient<RatedReplay>(at.rpc, RATED_REPLAY_SERVICE, RATED_REPLAY_METHODS).replay(
      TOPICS.requestCompleted,
      0,
      '0',
    );
    const sent = await recordsOf(at.eventLog, TOPICS.usageRated, 0);
    expect(sent.filter(({ headers }) => headers['resend'] === '1').map(({ key }) => key)).toEqual(
      told.map(({ batch_id: batchId }) => batchId),
    );
  });
});

test('a log that lost what was read stops its partition until it has grown past that; what it skips is asked for', async () => {
  const records = attempts(1, 9);
  const first = await bench.member();
  await first.eventLog.append(records.slice(0, 5));
  await bench.caughtUp(first);
  await first.stop();
  const stoppedAtMs = bench.clock.nowMs();
  await loseFrom(3);

  const at = await bench.member();
  expect(await stopReason(at)).toBe(
    'request.completed/0 holds offsets 0 to 3, but 5 is to be read next',
  );
  // Offsets 3 and 4 were read before, with other records: these two are never looked at.
  await at.eventLog.append(records.slice(5, 6));
  const [oldest] = await recordsOf(at.eventLog, TOPICS.requestCompleted, 0);
  const throughMs = await completeThroughMs(at);
  expect(throughMs).toBeGreaterThanOrEqual(oldest!.appendedAtMs);
  expect(throughMs).toBeLessThan(stoppedAtMs);
  await at.eventLog.append(records.slice(6, 7));
  await at.eventLog.append(records.slice(7));
  await eventually(async () => (await bench.sums()).rows === 7, { deadlineMs: 60_000 });
  expect(await eventually(async () => (await asked(at)).length > 0 && asked(at))).toEqual(['6-7']);
  await at.eventLog.append(records.slice(5, 7));
  await bench.caughtUp(at);
  expect(await bench.sums()).toEqual({ rows: 9, events: 9, chargePicoUsd: 9n * CHARGE });
});

describe('how far figures are complete can be asked', () => {
  let oldestMs: number;
  let stoppedAtMs: number;

  beforeEach(async () => {
    const records = attempts(1, 6);
    const first = await bench.member();
    await first.eventLog.append(records.slice(0, 3));
    await bench.caughtUp(first);
    oldestMs = (await recordsOf(first.eventLog, TOPICS.requestCompleted, 0))[0]!.appendedAtMs;
    await first.stop();
    stoppedAtMs = bench.clock.nowMs();
    await bench.append(records.slice(3));
  });

  test('while unread records are gone: up to what was carried last, as far as that is still known', async () => {
    await dropBefore(5);
    const at = await bench.member();
    await stopReason(at);
    const throughMs = await completeThroughMs(at);
    expect(throughMs).toBeGreaterThanOrEqual(oldestMs);
    expect(throughMs).toBeLessThan(stoppedAtMs);
    // Retention takes the sealed batches, and leaves the newest plan.
    const admin = bench.postgres.database(null);
    await admin.query('DELETE FROM metering.seal_queue');
    const month = toRfc3339(oldestMs).slice(0, 'yyyy-mm'.length);
    expect(await completeThroughMs(at)).toBe(Date.parse(`${month}-01T00:00:00Z`));
    await admin.query('DELETE FROM metering.sink_plan');
    expect(await completeThroughMs(at)).toBe(0);
  });

  test('while retention takes the record that is looked at', async () => {
    const database = bench.postgres.database('metering');
    const { clock } = bench;
    const inner = new PostgresEventLog({ database, clock, random: new SystemRandom() });
    const eventLog: Pick<EventLog, 'bounds' | 'read'> = {
      bounds: async (topic, partition) => {
        const bounds = await inner.bounds(topic, partition);
        await dropBefore(5);
        return bounds;
      },
      read: (...asked) => inner.read(...asked),
    };
    try {
      const { completeThroughMs: throughMs } = await new LogLedgerProgress({
        database,
        eventLog,
        streams: new StreamStore(),
        seals: new SealQueue(),
        clock,
        logPartitions: PARTITIONS,
      }).progress();
      expect(throughMs).toBeGreaterThanOrEqual(oldestMs);
      expect(throughMs).toBeLessThan(stoppedAtMs);
    } finally {
      await inner.close();
    }
  });
});

test('the first range of a partition begins at 0, also when the log no longer does', async () => {
  const records = attempts(1, 4);
  await bench.append(records);
  await dropBefore(2);
  const at = await bench.member();
  await bench.caughtUp(at);
  expect(await plansOf(at)).toEqual([{ first: 0, last: 3, state: 'DONE' }]);
  const messages = await eventually(async () => {
    const sent = await ratedMessages(at.eventLog);
    return sent.length > 0 && sent;
  });
  expect(messages[0]).toMatchObject({ source: { first: '0', last: '3' } });
});
