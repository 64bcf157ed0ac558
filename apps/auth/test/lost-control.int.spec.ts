/**
 * Guarantee: what auth and the budget authority tell each other on `control` is a hint. Definitions and
 * announcements that never arrive are found by comparing, in both directions (C5).
 * Method: auth on a real PostgreSQL with the real budget authority beside it, which neither reads the
 * log nor has its announcements relayed: every word between the two is lost.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import { BudgetOutbox, BudgetReconciler } from '#libs/budgets/adapters';
import {
  BUDGET_AUTHORITY_METHODS,
  BUDGET_SERVICE,
  type BudgetAuthority,
  type BudgetFigures,
} from '#libs/budgets/core';
import { TOPICS } from '#libs/events';
import {
  KEY_DIRECTORY_METHODS,
  KEY_DIRECTORY_SERVICE,
  type KeyDirectory,
  type KeyRecord,
} from '#libs/keys/core';
import { OutboxWriter } from '#libs/platform/postgres';
import { rpcClient } from '#libs/platform/rpc';
import { eventually, startTestPostgres, type TestPostgres } from '#libs/testing';
import { POSTGRES_MIGRATIONS } from '#migrations';

import { startAuth, type AuthFixture } from './auth-fixture.js';

/** Two passes of the comparison, and a slow machine. */
const PATIENT = { deadlineMs: 90_000 };

let postgres: TestPostgres;
let auth: AuthFixture;
let authority: BudgetAuthority;
let directory: KeyDirectory;

beforeAll(async () => {
  postgres = await startTestPostgres({ migrations: POSTGRES_MIGRATIONS });
  await start();
});
afterAll(async () => {
  await auth.stop();
  await postgres.stop();
});

async function start(): Promise<void> {
  auth = await startAuth({ postgres });
  authority = rpcClient(auth.rpc, BUDGET_SERVICE, BUDGET_AUTHORITY_METHODS);
  directory = rpcClient(auth.rpc, KEY_DIRECTORY_SERVICE, KEY_DIRECTORY_METHODS);
}

/** Where auth reads `control` on. */
async function position(): Promise<number> {
  const { rows } = await auth.superuser.query<{ next: number }>(
    'SELECT next_offset::integer AS next FROM auth.log_position WHERE topic = $1',
    [TOPICS.control],
  );
  return rows[0]!.next;
}

interface Budgeted {
  readonly keyId: string;
  readonly budgetId: string;
}

/** A key with a budget of $1. */
async function budgetedKey(): Promise<Budgeted> {
  const created = await auth.send('POST', '/api/keys', {
    user: 'bob',
    body: { name: 'x', max_budget: 1 },
  });
  const { id } = created.body['key_data'] as { readonly id: string };
  const listed = await auth.send('GET', `/api/budgets?scope_id=${id}`, { user: 'bob' });
  const [row] = listed.body['data'] as readonly { readonly id: string }[];
  const keyId = id.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  return { keyId, budgetId: row!.id };
}

async function figuresOf({ budgetId }: Budgeted): Promise<BudgetFigures | undefined> {
  return (await authority.figures([budgetId]))[0];
}

async function recordOf({ keyId }: Budgeted): Promise<KeyRecord> {
  return (await directory.findByIds([keyId]))[0]!;
}

/** What the authority decides when a budget stands so; its announcement stays in its outbox. */
async function settle({ budgetId }: Budgeted, settledUsd: string): Promise<void> {
  await auth.superuser.query(
    'UPDATE budget.budget_account SET settled_usd = $2 WHERE budget_id = $1',
    [budgetId, settledUsd],
  );
  const { clock, random } = auth.runtime;
  const outbox = new BudgetOutbox(new OutboxWriter(), clock, random);
  const pass = await new BudgetReconciler(auth.postgres.database('budget'), outbox).execute();
  expect(pass.corrected).toBe(1);
}

describe('what control did not bring', () => {
  test('to the authority are definitions: new, changed and deleted ones get there', async () => {
    const [lost, changed, deleted] = [
      await budgetedKey(),
      await budgetedKey(),
      await budgetedKey(),
    ];
    await auth.superuser.query('DELETE FROM budget.budget_account WHERE budget_id = $1', [
      lost.budgetId,
    ]);
    // As before the change and the deletion, of which it heard nothing.
    const body = { max_budget: 2 };
    await auth.send('PUT', `/api/keys/${changed.keyId}`, { user: 'bob', body });
    await auth.send('DELETE', `/api/budgets/${deleted.budgetId}`, { user: 'bob' });
    await auth.superuser.query(
      `UPDATE budget.budget_account SET limit_usd = 1, definition_rev = 1, deleted = false
       WHERE budget_id = ANY ($1::uuid[])`,
      [[changed.budgetId, deleted.budgetId]],
    );
    await eventually(async () => (await figuresOf(lost))?.definitionRev === 1, PATIENT);
    await eventually(async () => (await figuresOf(changed))?.definitionRev === 2, PATIENT);
    await eventually(async () => (await figuresOf(deleted))?.definitionRev === 2, PATIENT);
    expect((await figuresOf(changed))?.limitPicoUsd).toBe(2n * 10n ** 12n);
    const { rows } = await auth.superuser.query(
      'SELECT deleted FROM budget.budget_account WHERE budget_id = $1',
      [deleted.budgetId],
    );
    expect(rows).toEqual([{ deleted: true }]);
  }, 240_000);

  test('to auth are announcements: a key is shown blocked, and free again', async () => {
    const key = await budgetedKey();
    expect((await recordOf(key)).block).toBeNull();
    await settle(key, '1');
    await eventually(async () => (await recordOf(key)).block !== null, PATIENT);
    expect((await recordOf(key)).block).toMatchObject({ scope: 'key', budget_id: key.budgetId });
    await settle(key, '0.5');
    await eventually(async () => (await recordOf(key)).block === null, PATIENT);
    const heard = (await auth.control()).map(({ type }) => type);
    expect(heard).not.toContain('budget.exceeded.v1');
    // Counted at the end of a pass, of which the state is seen before.
    await eventually(
      async () =>
        expect(await auth.runtime.metrics.metrics()).toMatch(
          /auth_budget_corrections_total\{what="state"\} [2-9]/,
        ),
      PATIENT,
    );
  }, 240_000);

  test('to the authority are definitions of any number of budgets, past one that it refuses', async () => {
    await auth.superuser.query(
      `INSERT INTO auth.budget_definition (budget_id, org_id, scope, scope_id, period, limit_usd,
         timezone, week_start, thresholds, enabled, fail_policy, rev, created_at, updated_at)
       SELECT gen_random_uuid(), 'default', 'key', 'many-' || n, 'total', 1, 'UTC', 'monday',
         CASE n WHEN 1 THEN '[7]' ELSE '[]' END::jsonb, true, 'closed', 1, now(), now()
       FROM generate_series(0, 1200) n`,
    );
    await eventually(
      async () => {
        const { rows } = await auth.superuser.query<{ n: number }>(
          `SELECT count(*)::integer AS n FROM budget.budget_account
           WHERE subject_id LIKE 'many-%'`,
        );
        return rows[0]!.n === 1_200;
      },
      { deadlineMs: 180_000 },
    );
    const { rows } = await auth.superuser.query(
      `SELECT 1 FROM budget.budget_account WHERE subject_id = 'many-1'`,
    );
    expect(rows).toEqual([]);
  }, 240_000);
});

test('a log that lost its end is read on from where it ends now', async () => {
  const key = await budgetedKey();
  const announce = (budgetRev: number, exhausted: boolean) =>
    auth.eventLog.append([
      {
        topic: TOPICS.control,
        partition: 0,
        key: key.budgetId,
        headers: { ce_type: exhausted ? 'budget.exceeded.v1' : 'budget.reinstated.v1' },
        value: Buffer.from(
          JSON.stringify({
            budget_id: key.budgetId,
            scope: 'key',
            subject_id: key.keyId,
            epoch: 1,
            budget_rev: budgetRev,
            exhausted,
            period: 'total',
            resets_at: null,
          }),
        ),
      },
    ]);
  await announce(5, false);
  await eventually(async () => {
    const { rows } = await auth.superuser.query(
      'SELECT 1 FROM auth.budget_state WHERE budget_id = $1 AND budget_rev = 5',
      [key.budgetId],
    );
    return rows.length === 1;
  }, PATIENT);
  const readThrough = await position();
  await auth.stop();
  await postgres.database(null).query(
    `WITH cut AS (
       UPDATE event_log.log_partition SET next_offset = 1
       WHERE topic = $1 AND partition = 0 RETURNING partition_id)
     DELETE FROM event_log.log_record r USING cut
     WHERE r.partition_id = cut.partition_id AND "offset" >= 1`,
    [TOPICS.control],
  );
  await start();
  await eventually(async () => (await position()) < readThrough, PATIENT);
  await announce(6, true);
  await eventually(async () => (await recordOf(key)).block !== null, PATIENT);
  expect((await recordOf(key)).block).toMatchObject({ budget_id: key.budgetId });
}, 240_000);
