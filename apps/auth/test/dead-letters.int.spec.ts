/**
 * Guarantee: a record that auth could not read is shown and retried through `auth.dead-letters`; what
 * it says is applied once it can be read, and never over something newer.
 * Method: auth on a real PostgreSQL; letters are parked as an older release would have.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';

import { TOPICS } from '#libs/events';
import { SystemRandom, uuidV4 } from '#libs/kernel';
import { DEAD_LETTER_DESK_METHODS, type DeadLetterDeskPort } from '#libs/platform/postgres';
import { rpcClient } from '#libs/platform/rpc';

import { startAuth, type AuthFixture } from './auth-fixture.js';

const budgetId = uuidV4(new SystemRandom());

let auth: AuthFixture;
let desk: DeadLetterDeskPort;

beforeAll(async () => {
  auth = await startAuth();
  desk = rpcClient(auth.rpc, 'auth.dead-letters', DEAD_LETTER_DESK_METHODS);
});

afterAll(() => auth.stop());

async function park(offset: number, type: string, value: string): Promise<string> {
  await auth.superuser.query(
    `INSERT INTO auth.dead_letter
       (topic, partition, "offset", class, error, key, headers, payload, booked)
     VALUES ($1, 0, $2, 'malformed', 'epoch', 'k', $3, $4, false)`,
    [TOPICS.control, offset, Buffer.from(JSON.stringify({ ce_type: type })), Buffer.from(value)],
  );
  return `${TOPICS.control}/0/${offset}`;
}

function state(budgetRev: number, exhausted: boolean): string {
  const subject = { scope: 'team', subject_id: 'crew', period: 'total', resets_at: null };
  return JSON.stringify({
    ...subject,
    budget_id: budgetId,
    epoch: 1,
    budget_rev: budgetRev,
    exhausted,
  });
}

async function stored(): Promise<readonly unknown[]> {
  const { rows } = await auth.superuser.query(
    'SELECT budget_rev::integer, exhausted FROM auth.budget_state WHERE budget_id = $1',
    [budgetId],
  );
  return rows;
}

test('what can be read now is applied once, and older news change nothing', async () => {
  const newer = await park(901, 'budget.exceeded.v1', state(5, true));
  const older = await park(902, 'budget.reinstated.v1', state(4, false));
  expect(await desk.list({ state: 'parked', topic: null, after: null, limit: 10 })).toMatchObject([
    { id: `auth/${newer}`, service: 'auth', hold: 'none' },
    { id: `auth/${older}` },
  ]);
  const answers = await Promise.all([1, 2, 3].map(() => desk.retry(newer)));
  expect(answers).toMatchObject(answers.map(() => ({ state: 'retried' })));
  expect(await stored()).toEqual([{ budget_rev: 5, exhausted: true }]);
  expect(await desk.retry(older)).toMatchObject({ state: 'retried' });
  expect(await stored()).toEqual([{ budget_rev: 5, exhausted: true }]);
});

test('what still cannot be read stays parked', async () => {
  const poison = await park(903, 'key.revoked.v1', '{"budget_id":7}');
  const future = await park(904, 'key.revoked.v2', '{}');
  for (const place of [poison, future]) {
    await expect(desk.retry(place)).rejects.toMatchObject({ code: 'dead_letter.unreadable' });
    expect(await desk.show(place)).toMatchObject({ state: 'parked' });
  }
  await expect(desk.retry('control/0/999')).rejects.toMatchObject({ code: 'dead_letter.unknown' });
  await expect(desk.show("control/0/1'")).rejects.toMatchObject({ code: 'dead_letter.unknown' });
});
