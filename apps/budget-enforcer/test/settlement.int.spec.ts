/**
 * Guarantee: every rated charge lands exactly once on every account of its subject and in the
 * subject's spend, in whatever order and how often its message comes; blocks follow the level.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';

import { pruneBudget, readRatedHoles, readStanding, RECONCILER_LOCK } from '#libs/budgets/adapters';
import type { UsageRatedV1 } from '#libs/events';
import { parseUsd } from '#libs/kernel';
import { eventually, type TestPostgres } from '#libs/testing';

import {
  definition,
  freshId,
  freshKey,
  Guard,
  rated,
  startGuardPostgres,
  untilAnswered,
  want,
} from './guard-fixture.js';

let postgres: TestPostgres;
let guard: Guard;

beforeAll(async () => {
  postgres = await startGuardPostgres();
  guard = new Guard(postgres.database('budget'));
});

afterAll(() => postgres.stop());

beforeEach(async () => {
  await guard.database.query(
    'TRUNCATE budget_account, subject_spend, hold, applied_batch, applied_through, parked_batch, block, overrun, outbox, outbox_lane, dead_letter',
  );
});

async function settledOf(budgetId: string): Promise<bigint | undefined> {
  return (await guard.authority.figures([budgetId]))[0]?.settledPicoUsd;
}

describe('settling', () => {
  test('holds are replaced by charges, and what was not held lands too', async () => {
    const key = freshKey();
    const team = { scope: 'team' as const, subjectId: freshId() };
    const ofKey = definition(key, '1');
    const ofTeam = definition(team, '1');
    await guard.authority.applyDefinition(ofKey);
    const early = want([key, team], '0.2');
    await guard.authority.placeHolds('e', [early]);
    await guard.authority.applyDefinition(ofTeam);
    const late = want([key, team], '0.3');
    await guard.authority.placeHolds('e', [late]);
    await guard.settle(
      rated([0, 9], [key, team], '0.35', [
        [early.holdId, '0.1'],
        [late.holdId, '0.2'],
      ]),
    );
    const figures = await guard.authority.figures([ofKey.budgetId, ofTeam.budgetId]);
    expect(figures.map((each) => [each.settledPicoUsd, each.heldPicoUsd])).toEqual([
      [parseUsd('0.35'), 0n],
      [parseUsd('0.35'), 0n],
    ]);
    expect(await guard.authority.spendOf([key, team, freshKey()])).toMatchObject([
      { settledPicoUsd: parseUsd('0.35') },
      { settledPicoUsd: parseUsd('0.35') },
      { settledPicoUsd: 0n },
    ]);
    expect(await guard.authority.listHolds('e', null)).toEqual([]);
  });

  test('the same message again, alone or beside others, changes nothing', async () => {
    const key = freshKey();
    const budget = definition(key, '1');
    await guard.authority.applyDefinition(budget);
    const first = rated([0, 9], [key], '0.1');
    const second = rated([10, 19], [key], '0.1');
    await guard.settle(first, first);
    expect(await guard.settle(first)).toMatchObject({ applied: 0, duplicates: 1 });
    expect(await guard.settle(first, second)).toMatchObject({ applied: 1, duplicates: 1 });
    expect(await settledOf(budget.budgetId)).toBe(parseUsd('0.2'));
  });

  test('messages out of order wait for the missing one and are then settled once', async () => {
    const key = freshKey();
    const budget = definition(key, '1');
    await guard.authority.applyDefinition(budget);
    const [a, b, c] = [
      rated([0, 9], [key], '0.1'),
      rated([10, 19], [key], '0.2'),
      rated([20, 29], [key], '0.3'),
    ] as const;
    expect(await guard.settle(c, b)).toMatchObject({ applied: 0, parked: 2 });
    expect(await guard.settle(c)).toMatchObject({ applied: 0, parked: 2 });
    expect(await settledOf(budget.budgetId)).toBe(0n);
    expect(await readStanding(guard.database)).toMatchObject({ parkedBatches: 2 });
    expect(await guard.settle(a)).toMatchObject({ applied: 3, parked: 0 });
    expect(await settledOf(budget.budgetId)).toBe(parseUsd('0.6'));
    expect(await readStanding(guard.database)).toMatchObject({ parkedBatches: 0 });
  });

  test('behind a missing batch the log is read on, however much of it waits there', async () => {
    const key = freshKey();
    const budget = definition(key, '1000');
    await guard.authority.applyDefinition(budget);
    const batches = Array.from({ length: 1_101 }, (_, at) => rated([at, at], [key], '0.1'));
    await guard.settle(...batches.slice(1, 900));
    await guard.settle(...batches.slice(900, 1_050));
    await guard.settle(...batches.slice(1_050));
    expect(await readStanding(guard.database)).toMatchObject({ parkedBatches: 1_000 });
    // What fills the hole comes behind them. The last one stays, to show what is missing next.
    expect(await guard.settle(batches[0]!)).toMatchObject({ applied: 1_000, parked: 1 });
    expect(await readRatedHoles(guard.database)).toMatchObject([{ fromOffset: 1_000n }]);
    expect(await guard.settle(...batches.slice(1_000))).toMatchObject({ applied: 101, parked: 0 });
    expect(await settledOf(budget.budgetId)).toBe(parseUsd('110.1'));
  });

  test('another batch over settled offsets stops, and nothing of its call is applied', async () => {
    const key = freshKey();
    const budget = definition(key, '1');
    await guard.authority.applyDefinition(budget);
    await guard.settle(rated([0, 9], [key], '0.1'));
    const good = rated([10, 19], [key], '0.1');
    await expect(guard.settle(good, rated([5, 9], [key], '0.1'))).rejects.toMatchObject({
      code: 'budget.rated_overlap',
    });
    expect(await settledOf(budget.budgetId)).toBe(parseUsd('0.1'));
  });

  test('an empty batch moves the sequence on', async () => {
    await guard.settle(rated([0, 9], [], '0'));
    expect(await guard.settle(rated([10, 10], [], '0'))).toMatchObject({ applied: 1 });
  });

  test('a charge above its hold is settled whole and kept as an overrun', async () => {
    const key = freshKey();
    await guard.authority.applyDefinition(definition(key, '1'));
    const hold = want([key], '0.1');
    await guard.authority.placeHolds('e', [hold]);
    const report = await guard.settle(rated([0, 9], [key], '0.15', [[hold.holdId, '0.15']]));
    expect(report.overruns).toMatchObject([{ holdId: hold.holdId, cause: 'charge_above_hold' }]);
    const { rows } = await guard.database.query('SELECT hold_id, charge_usd FROM overrun');
    expect(rows).toEqual([{ hold_id: hold.holdId, charge_usd: '0.150000000000' }]);
  });

  test('a budget created while charges stream in starts exactly from what was spent', async () => {
    const key = freshKey();
    const batches = Array.from({ length: 40 }, (_, at) =>
      rated([at * 10, at * 10 + 9], [key], '0.01'),
    );
    const budgets = Array.from({ length: 10 }, () => definition(key, '5'));
    const other = new Guard(postgres.database('budget'));
    const settling = (async () => {
      for (const batch of batches) await guard.settle(batch);
    })();
    const defining = (async () => {
      for (const budget of budgets) {
        await untilAnswered(() => other.authority.applyDefinition(budget));
      }
    })();
    await Promise.all([settling, defining]);
    const figures = await guard.authority.figures(budgets.map((each) => each.budgetId));
    expect(figures.map((each) => each.settledPicoUsd)).toEqual(budgets.map(() => parseUsd('0.4')));
  });

  test('partitions settling one team at once, while holds are placed, lose and double nothing', async () => {
    const team = { scope: 'team' as const, subjectId: freshId() };
    const keys = [freshKey(), freshKey(), freshKey()];
    const ofTeam = definition(team, '100');
    const budgets = [ofTeam, ...keys.map((key) => definition(key, '100'))];
    for (const budget of budgets) await guard.authority.applyDefinition(budget);
    const work = keys.map(async (key, partition) => {
      const mine = new Guard(postgres.database('budget'));
      for (let at = 0; at < 20; at += 1) {
        const hold = want([key, team], '0.02');
        const [placed] = await untilAnswered(() =>
          mine.authority.placeHolds(`e${partition}`, [hold]),
        );
        expect(placed?.outcome).toBe('held');
        const batch = rated([at, at], [key, team], '0.01', [[hold.holdId, '0.01']]);
        await mine.settle({ ...batch, source: { ...batch.source, partition } });
      }
    });
    await Promise.all(work);
    const figures = await guard.authority.figures(budgets.map((each) => each.budgetId));
    const settled = new Map(figures.map((each) => [each.budgetId, each.settledPicoUsd]));
    expect(settled.get(ofTeam.budgetId)).toBe(parseUsd('0.6'));
    expect(budgets.slice(1).map((each) => settled.get(each.budgetId))).toEqual(
      keys.map(() => parseUsd('0.2')),
    );
    expect(figures.every((each) => each.heldPicoUsd === 0n)).toBe(true);
  });
});

describe('blocks', () => {
  test('thresholds fire once, exhaustion revokes at once, raising reinstates', async () => {
    const key = freshKey();
    const budget = definition(key, '1', { thresholds: [0.5, 0.8] });
    await guard.authority.applyDefinition(budget);
    const charge = (at: number, usd: string): UsageRatedV1 => rated([at, at], [key], usd);
    await guard.settle(charge(0, '0.4'));
    await guard.settle(charge(1, '0.2'));
    await guard.settle(charge(2, '0.1'));
    await guard.settle(charge(3, '0.3'));
    await guard.settle(charge(4, '0.1'));
    expect(await guard.authority.placeHolds('e', [want([key], '0.1')])).toMatchObject([
      { outcome: 'refused', reason: 'budget_exceeded', exhausted: true, resetsAt: null },
    ]);
    await guard.authority.applyDefinition({ ...budget, limitPicoUsd: parseUsd('2'), rev: 2 });
    const published = await guard.published();
    expect(
      published.map((each) => [each.type, each.data['threshold'] ?? each.data['budget_rev']]),
    ).toEqual([
      ['budget.threshold.v1', 0.5],
      ['budget.threshold.v1', 0.8],
      ['budget.exceeded.v1', 1],
      ['key.revoked.v1', 1],
      ['budget.reinstated.v1', 2],
      ['key.reinstated.v1', 2],
    ]);
  });

  test('a team’s exhaustion is one fact about the team; no key is revoked', async () => {
    const team = { scope: 'team' as const, subjectId: freshId() };
    await guard.authority.applyDefinition(definition(team, '0.1'));
    await guard.settle(rated([0, 0], [team, freshKey()], '0.1'));
    expect((await guard.published()).map((each) => each.type)).toEqual(['budget.exceeded.v1']);
  });

  test('the reconciler finds a missing and a stale block and then nothing more', async () => {
    const spent = definition(freshKey(), '0.1');
    const raised = definition(freshKey(), '0');
    await guard.authority.applyDefinition(spent);
    await guard.authority.applyDefinition(raised);
    const set = (column: string, usd: string, budgetId: string) =>
      guard.database.query(`UPDATE budget_account SET ${column} = $1 WHERE budget_id = $2`, [
        usd,
        budgetId,
      ]);
    await set('settled_usd', '0.0998', spent.budgetId);
    await set('limit_usd', '5', raised.budgetId);
    expect(await guard.reconciler.execute()).toEqual({ isOwner: true, corrected: 1 });
    await set('settled_usd', '0.0999999', spent.budgetId);
    expect(await guard.reconciler.execute()).toEqual({ isOwner: true, corrected: 1 });
    expect(await guard.reconciler.execute()).toEqual({ isOwner: true, corrected: 0 });
    expect((await guard.published()).map((each) => each.type)).toEqual([
      'budget.exceeded.v1',
      'key.revoked.v1',
      'budget.reinstated.v1',
      'key.reinstated.v1',
      'budget.exceeded.v1',
      'key.revoked.v1',
    ]);
  });

  test('while one instance reconciles another stands by; when it is killed the other works', async () => {
    const holder = await postgres.database('budget').session();
    await holder.query('BEGIN');
    const { rows } = await holder.query<{ pid: number }>(
      'SELECT pg_backend_pid() AS pid, pg_advisory_xact_lock($1)',
      [RECONCILER_LOCK],
    );
    expect(await guard.reconciler.execute()).toEqual({ isOwner: false, corrected: 0 });
    await postgres.database(null).query('SELECT pg_terminate_backend($1, 5000)', [rows[0]!.pid]);
    // The lock goes with the session, which may take its time to end.
    await eventually(
      async () => expect(await guard.reconciler.execute()).toEqual({ isOwner: true, corrected: 0 }),
      { deadlineMs: 60_000 },
    );
    await holder.close();
  });
});

describe('upkeep', () => {
  test('ended holds and batch ids go after 7 days, open holds never, duplicates stay duplicates', async () => {
    const key = freshKey();
    await guard.authority.applyDefinition(definition(key, '1'));
    const [open, ended] = [want([key], '0.1'), want([key], '0.1')];
    await guard.authority.placeHolds('e', [open, ended]);
    const first = rated([0, 9], [key], '0.1', [[ended.holdId, '0.1']]);
    await guard.settle(first);
    expect(await pruneBudget(guard.database)).toBe(0);
    await guard.database.query(`UPDATE hold SET placed_at = now() - interval '8 days',
      ended_at = ended_at - interval '8 days'`);
    await guard.database.query(`UPDATE applied_batch SET applied_at = now() - interval '8 days'`);
    expect(await pruneBudget(guard.database)).toBe(2);
    expect(await guard.authority.listHolds('e', null)).toMatchObject([{ holdId: open.holdId }]);
    expect(await guard.settle(first)).toMatchObject({ applied: 0, duplicates: 1 });
  });

  test('dead letters go 30 days after they were parked, once they were dealt with and no sooner', async () => {
    // More than one slice.
    await guard.database.query(
      `INSERT INTO dead_letter
         (topic, partition, "offset", class, error, key, headers, payload, booked, state, created_at)
       SELECT 'usage.rated', 0, n, 'c', 'e', '', '{}', '', false,
              CASE WHEN n < 1500 THEN 'retried' WHEN n < 1510 THEN 'discarded' ELSE 'parked' END,
              now() - make_interval(days => CASE WHEN n % 10 = 0 THEN 29 ELSE 31 END)
       FROM generate_series(0, 1599) AS n`,
    );
    expect(await pruneBudget(guard.database)).toBe(1_359);
    const { rows } = await guard.database.query(
      'SELECT state, count(*)::int AS n FROM dead_letter GROUP BY state ORDER BY state',
    );
    expect(rows).toEqual([
      { state: 'discarded', n: 1 },
      { state: 'parked', n: 90 },
      { state: 'retried', n: 150 },
    ]);
    expect(await pruneBudget(guard.database)).toBe(0);
  });
});
