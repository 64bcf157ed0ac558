/**
 * Guarantee: a record that auth could not read is shown and retried through `auth.dead-letters`; what
 * it says is applied once it can be read, and never over something newer. What was dealt with does not
 * stay for ever.
 * Method: auth on a real PostgreSQL; letters are parked as an older release would have.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import { TOPICS } from '#libs/events';
import { SystemRandom, uuidV4 } from '#libs/kernel';
import { DEAD_LETTER_DESK_METHODS, type DeadLetterDeskPort } from '#libs/platform/postgres';
import { rpcClient } from '#libs/platform/rpc';

import { AuthUpkeepWorker } from '../src/auth-upkeep.worker.js';
import { startAuth, type Answer, type AuthFixture } from './auth-fixture.js';

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

describe('upkeep', () => {
  const upkeep = (): AuthUpkeepWorker =>
    new AuthUpkeepWorker({ ...auth.runtime, database: auth.postgres.database('auth') });

  test('dead letters go 30 days after they were parked, once they were dealt with and no sooner', async () => {
    const [dealtWith, waiting] = [await park(1001, 't', '{}'), await park(1002, 't', '{}')];
    const fresh = await park(1003, 't', '{}');
    await auth.superuser.query(
      `UPDATE auth.dead_letter
       SET state = CASE WHEN "offset" = 1002 THEN 'parked' ELSE 'retried' END,
           created_at = now() - make_interval(days => CASE WHEN "offset" = 1003 THEN 29 ELSE 31 END)
       WHERE "offset" > 1000`,
    );
    await upkeep().pass();
    await expect(desk.show(dealtWith)).rejects.toMatchObject({ code: 'dead_letter.unknown' });
    expect(await desk.show(waiting)).toMatchObject({ state: 'parked' });
    expect(await desk.show(fresh)).toMatchObject({ state: 'retried' });
  });

  test('answers kept for repeats go after 24 h, in slices; a request under such a key is a new one before', async () => {
    const ask = (): Promise<Answer> =>
      auth.send('POST', '/api/keys', {
        user: 'repeater',
        body: { name: 'x' },
        headers: { 'idempotency-key': 'again' },
      });
    const first = await ask();
    expect((await ask()).headers.get('idempotent-replayed')).toBe('true');
    await auth.superuser.query(
      `UPDATE auth.idempotent_answer SET created_at = created_at - interval '24 hours'`,
    );
    await auth.superuser.query(
      `INSERT INTO auth.idempotent_answer
         (caller, route, key, body_digest, status, answer, created_at)
       SELECT 'c', 'r', n::text, '', 201, '{}', now() - make_interval(hours => n % 2 * 25)
       FROM generate_series(1, 3000) AS n`,
    );
    const second = await ask();
    expect(second.status).toBe(201);
    expect(second.headers.get('idempotent-replayed')).toBeNull();
    expect(second.body['key']).not.toBe(first.body['key']);
    await upkeep().pass();
    const { rows } = await auth.superuser.query(
      `SELECT caller, count(*)::int AS n FROM auth.idempotent_answer
       WHERE created_at > now() - interval '24 hours' OR caller = 'c' GROUP BY caller ORDER BY n`,
    );
    expect(rows).toMatchObject([{ n: 1 }, { caller: 'c', n: 1_500 }]);
    expect((await ask()).headers.get('idempotent-replayed')).toBe('true');
  });
});
