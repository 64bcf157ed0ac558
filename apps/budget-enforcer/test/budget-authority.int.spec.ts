/**
 * Guarantee: settled + held <= limit at every instant, whoever asks at once; every charge lands once.
 * Method: the authority on a real PostgreSQL, several pools standing for several processes.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { isExhausted } from '#libs/budgets/core';
import { parseUsd, picoUsd } from '#libs/kernel';
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

/** Guards against waiting for ever. */
const PATIENT = { deadlineMs: 60_000 };

let postgres: TestPostgres;
let guard: Guard;

beforeAll(async () => {
  postgres = await startGuardPostgres();
  guard = new Guard(postgres.database('budget'));
});

afterAll(() => postgres.stop());

async function figuresOf(budgetId: string) {
  const [figures] = await guard.authority.figures([budgetId]);
  if (figures === undefined) throw new Error(`no budget ${budgetId}`);
  return figures;
}

describe('placing holds', () => {
  test('of 1,000 at once on a dollar exactly 80 of $0.0125 are admitted, never one over', async () => {
    const key = freshKey();
    const budget = definition(key, '1');
    await guard.authority.applyDefinition(budget);
    const others = [
      guard,
      new Guard(postgres.database('budget')),
      new Guard(postgres.database('budget')),
    ];
    const sampler = postgres.database('budget');
    const samples: bigint[] = [];
    let isDone = false;
    const sampling = (async () => {
      while (!isDone) {
        const { rows } = await sampler.query<{ used: string }>(
          'SELECT settled_usd + held_usd + leased_usd AS used FROM budget_account WHERE budget_id = $1',
          [budget.budgetId],
        );
        samples.push(parseUsd(rows[0]!.used));
      }
    })();
    await eventually(() => samples.length > 0, PATIENT);
    const calls = Array.from({ length: 1_000 }, (_, at) => {
      const { authority } = others[at % others.length]!;
      const request = want([key], '0.0125');
      return untilAnswered(() => authority.placeHolds(`emitter-${at % 4}`, [request]));
    });
    const results = (await Promise.all(calls)).flat();
    await eventually(() => samples.length > 5, PATIENT);
    isDone = true;
    await sampling;
    const held = results.filter((each) => each.outcome === 'held');
    const refused = results.filter((each) => each.outcome === 'refused');
    expect(held).toHaveLength(80);
    expect(new Set(refused.map((each) => each.reason))).toEqual(new Set(['budget_reserved']));
    expect(samples.every((used) => used <= parseUsd('1'))).toBe(true);
    expect(await figuresOf(budget.budgetId)).toMatchObject({ heldPicoUsd: parseUsd('1') });
  });

  test('a hold over key and team takes both or none', async () => {
    const key = freshKey();
    const team = { scope: 'team' as const, subjectId: freshId() };
    const ofKey = definition(key, '1');
    const ofTeam = definition(team, '0.02');
    await guard.authority.applyDefinition(ofKey);
    await guard.authority.applyDefinition(ofTeam);
    const [first, second] = await guard.authority.placeHolds('e', [
      want([key, team], '0.015'),
      want([key, team], '0.015'),
    ]);
    const budgets = [ofKey, ofTeam].map((each) => ({ budget_id: each.budgetId, epoch: 1 }));
    expect(first).toMatchObject({
      outcome: 'held',
      budgets: budgets.toSorted((a, b) => (a.budget_id < b.budget_id ? -1 : 1)),
    });
    expect(second).toMatchObject({
      outcome: 'refused',
      reason: 'budget_reserved',
      budgetId: ofTeam.budgetId,
      scope: 'team',
    });
    expect((await figuresOf(ofKey.budgetId)).heldPicoUsd).toBe(parseUsd('0.015'));
    expect((await figuresOf(ofTeam.budgetId)).heldPicoUsd).toBe(parseUsd('0.015'));
  });

  test('near the limit the grant is clamped to what is left, not below the least', async () => {
    const key = freshKey();
    await guard.authority.applyDefinition(definition(key, '0.01'));
    const results = await guard.authority.placeHolds('e', [
      want([key], '0.007'),
      want([key], '0.007', '0.002'),
      want([key], '0.007', '0.000000000001'),
    ]);
    expect(results).toMatchObject([
      { outcome: 'held', amountPicoUsd: parseUsd('0.007') },
      { outcome: 'held', amountPicoUsd: parseUsd('0.003') },
      { outcome: 'refused', reason: 'budget_reserved', retryAfterMs: 1_000 },
    ]);
  });

  test('placing a hold again answers the same and takes nothing more', async () => {
    const key = freshKey();
    const budget = definition(key, '1');
    await guard.authority.applyDefinition(budget);
    const request = want([key], '0.6');
    const answers = await Promise.all(
      [guard, new Guard(postgres.database('budget'))].map((each) =>
        untilAnswered(() => each.authority.placeHolds('e', [request])),
      ),
    );
    expect(answers[0]).toEqual(answers[1]);
    expect(answers[0]).toMatchObject([{ outcome: 'held' }]);
    expect((await figuresOf(budget.budgetId)).heldPicoUsd).toBe(parseUsd('0.6'));
  });

  test('a limit lowered below what is held admits nothing and takes nothing back', async () => {
    const key = freshKey();
    const budget = definition(key, '1');
    await guard.authority.applyDefinition(budget);
    const placed = want([key], '0.6');
    await guard.authority.placeHolds('e', [placed]);
    await guard.authority.applyDefinition({ ...budget, limitPicoUsd: parseUsd('0.5'), rev: 2 });
    const refused = await guard.authority.placeHolds('e', [want([key], '0.001')]);
    expect(refused).toMatchObject([{ outcome: 'refused', reason: 'budget_reserved' }]);
    await guard.authority.releaseHolds('e', [placed.holdId]);
    const admitted = await guard.authority.placeHolds('e', [want([key], '0.5')]);
    expect(admitted).toMatchObject([{ outcome: 'held' }]);
  });

  test('a key without a budget gets what it wants and leaves no hold', async () => {
    const request = want([freshKey()], '5');
    expect(await guard.authority.placeHolds('e', [request])).toMatchObject([
      { outcome: 'held', amountPicoUsd: parseUsd('5'), budgets: [] },
    ]);
    expect(await guard.authority.listHolds('e', request.holdId.slice(0, -1))).not.toContainEqual(
      expect.objectContaining({ holdId: request.holdId }),
    );
  });

  test('a malformed request is refused whole and names the member', async () => {
    const request = { ...want([freshKey()], '1'), leastPicoUsd: picoUsd(0n) };
    await expect(guard.authority.placeHolds('e', [request])).rejects.toMatchObject({
      code: 'budget.invalid_hold',
      details: { field: 'leastPicoUsd' },
    });
  });
});

describe('releasing and listing holds', () => {
  test('only the emitter that placed a hold can release it, once', async () => {
    const key = freshKey();
    const budget = definition(key, '1');
    await guard.authority.applyDefinition(budget);
    const request = want([key], '0.4');
    await guard.authority.placeHolds('owner', [request]);
    await guard.authority.releaseHolds('stranger', [request.holdId]);
    expect((await figuresOf(budget.budgetId)).heldPicoUsd).toBe(parseUsd('0.4'));
    await Promise.all(
      [1, 2].map(() =>
        untilAnswered(() => guard.authority.releaseHolds('owner', [request.holdId])),
      ),
    );
    expect((await figuresOf(budget.budgetId)).heldPicoUsd).toBe(0n);
    expect(await guard.authority.placeHolds('owner', [request])).toMatchObject([
      { outcome: 'refused', reason: 'budget_reserved' },
    ]);
  });

  test('a release that overtakes its placement leaves nothing held', async () => {
    const key = freshKey();
    const budget = definition(key, '1');
    await guard.authority.applyDefinition(budget);
    const requests = Array.from({ length: 50 }, () => want([key], '0.01'));
    const ids = requests.map((each) => each.holdId);
    await Promise.all([
      untilAnswered(() => guard.authority.placeHolds('racer', requests)),
      untilAnswered(() => guard.authority.releaseHolds('racer', ids)),
    ]);
    expect((await figuresOf(budget.budgetId)).heldPicoUsd).toBe(0n);
    expect(await guard.authority.listHolds('racer', null)).toEqual([]);
  });

  test('an emitter’s open holds are listed in order, after a given one', async () => {
    const key = freshKey();
    await guard.authority.applyDefinition(definition(key, '1'));
    const requests = Array.from({ length: 5 }, () => want([key], '0.1'));
    await guard.authority.placeHolds('lister', requests);
    const ids = requests.map((each) => each.holdId).toSorted();
    expect(await guard.authority.listHolds('lister', null)).toEqual(
      ids.map((holdId) => ({ holdId, amountPicoUsd: parseUsd('0.1') })),
    );
    const rest = await guard.authority.listHolds('lister', ids[2]!);
    expect(rest.map((each) => each.holdId)).toEqual(ids.slice(3));
  });
});

describe('definitions', () => {
  test('spent, raised and spent again: announced each time under a growing revision', async () => {
    const key = freshKey();
    const budget = definition(key, '0.01');
    await guard.authority.applyDefinition({ ...budget, limitPicoUsd: parseUsd('0') });
    await guard.authority.applyDefinition({ ...budget, rev: 2 });
    await guard.authority.applyDefinition({ ...budget, limitPicoUsd: parseUsd('0'), rev: 3 });
    await guard.authority.applyDefinition({ ...budget, deleted: true, rev: 4 });
    const published = (await guard.published()).filter(
      (each) => each.data['budget_id'] === budget.budgetId,
    );
    expect(published.map((each) => [each.type, each.data['budget_rev']])).toEqual([
      ['budget.exceeded.v1', 1],
      ['key.revoked.v1', 1],
      ['budget.reinstated.v1', 2],
      ['key.reinstated.v1', 2],
      ['budget.exceeded.v1', 3],
      ['key.revoked.v1', 3],
      ['budget.reinstated.v1', 4],
      ['key.reinstated.v1', 4],
    ]);
  });

  test('a late duplicate or older definition changes nothing', async () => {
    const key = freshKey();
    const budget = definition(key, '1', { rev: 2 });
    await guard.authority.applyDefinition(budget);
    await guard.authority.applyDefinition({ ...budget, limitPicoUsd: parseUsd('9') });
    await guard.authority.applyDefinition({ ...budget, deleted: true, rev: 1 });
    expect((await figuresOf(budget.budgetId)).limitPicoUsd).toBe(parseUsd('1'));
    expect(await guard.authority.placeHolds('e', [want([key], '2')])).toMatchObject([
      { outcome: 'refused', reason: 'budget_exceeded', exhausted: false },
    ]);
  });

  test('a period that is not enforced is refused by name', async () => {
    const budget = definition(freshKey(), '1', { period: 'daily' });
    await expect(guard.authority.applyDefinition(budget)).rejects.toMatchObject({
      code: 'budget.unsupported_period',
      details: { field: 'period' },
    });
  });

  test('thresholds that doubles cannot express in binary come back digit for digit', async () => {
    const budget = definition(freshKey(), '1', { thresholds: [0.1, 0.123456789, 0.8] });
    await guard.authority.applyDefinition(budget);
    const { rows } = await guard.database.query<{ thresholds: number[] }>(
      'SELECT thresholds FROM budget_account WHERE budget_id = $1',
      [budget.budgetId],
    );
    expect(rows[0]?.thresholds).toEqual([0.1, 0.123456789, 0.8]);
  });
});

describe('the level in SQL', () => {
  test('agrees with the one function for every limit and settled amount', async () => {
    const amount = fc.bigInt({ min: 0n, max: 10n ** 22n });
    const near = fc
      .tuple(amount, fc.bigInt({ min: -200_000_000n, max: 200_000_000n }))
      .map(([limit, off]) => [limit, limit + off < 0n ? 0n : limit + off] as const);
    const pairs = fc.sample(near, { numRuns: 3_000, seed: 7 });
    const { rows } = await guard.database.query<{ exhausted: boolean }>(
      `SELECT limit_usd - settled_usd <= least(0.0001, trunc(limit_usd * 0.001, 12)) AS exhausted
       FROM (SELECT l::numeric / 1000000000000, s::numeric / 1000000000000
             FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS n (l, s, ord) ORDER BY ord)
         AS n (limit_usd, settled_usd)`,
      [pairs.map(([limit]) => String(limit)), pairs.map(([, settled]) => String(settled))],
    );
    const expected = pairs.map(([limit, settled]) => isExhausted(picoUsd(limit), picoUsd(settled)));
    expect(rows.map((row) => row.exhausted)).toEqual(expected);
    expect(new Set(expected).size).toBe(2);
  });
});

describe('faults', () => {
  test('a connection killed in mid-transaction leaves nothing half done', async () => {
    const key = freshKey();
    const budget = definition(key, '1');
    await guard.authority.applyDefinition(budget);
    const admin = postgres.database(null);
    // The account stays locked, so the settlement is caught after it has written other rows.
    const blocker = postgres.database('budget');
    const before = await figuresOf(budget.budgetId);
    const victim = new Guard(postgres.database('budget'));
    await blocker.transaction(async (tx) => {
      await tx.query('SELECT 1 FROM budget_account WHERE budget_id = $1 FOR UPDATE', [
        budget.budgetId,
      ]);
      const settling = victim.settle(rated([0, 9], [key], '0.25'));
      settling.catch(() => undefined);
      await eventually(async () => {
        const { rowCount } = await admin.query(
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
           WHERE wait_event_type = 'Lock' AND datname = current_database()`,
        );
        return rowCount > 0;
      }, PATIENT);
      await expect(settling).rejects.toThrow(/terminat|connection/i);
    });
    expect(await figuresOf(budget.budgetId)).toEqual(before);
    expect(await guard.authority.spendOf([key])).toMatchObject([{ settledPicoUsd: 0n }]);
    const { rows } = await guard.database.query('SELECT * FROM applied_through');
    expect(rows).toEqual([]);
  });

  test('an account locked for longer than half a second is answered as unavailable', async () => {
    const key = freshKey();
    const budget = definition(key, '1');
    await guard.authority.applyDefinition(budget);
    const blocker = postgres.database('budget');
    await blocker.transaction(async (tx) => {
      await tx.query('SELECT 1 FROM budget_account WHERE budget_id = $1 FOR UPDATE', [
        budget.budgetId,
      ]);
      await expect(guard.authority.placeHolds('e', [want([key], '0.1')])).rejects.toMatchObject({
        code: 'budget.unavailable',
        kind: 'unavailable',
        retryable: true,
      });
    });
    expect(await guard.authority.placeHolds('e', [want([key], '0.1')])).toMatchObject([
      { outcome: 'held' },
    ]);
  });
});
