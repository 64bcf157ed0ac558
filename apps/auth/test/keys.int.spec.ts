import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import { TOPICS } from '#libs/events';
import { keyDigests, KEY_DIRECTORY_METHODS, type KeyDirectory } from '#libs/keys/core';
import { isGeneratedKey } from '#libs/keys/core';
import { parseUsd } from '#libs/kernel';
import { rpcClient } from '#libs/platform/rpc';
import { eventually } from '#libs/testing';

import { ADMIN, PEPPERS, startAuth, type Answer, type AuthFixture } from './auth-fixture.js';

/** Guards against waiting for ever. */
const PATIENT = { deadlineMs: 60_000 };

let auth: AuthFixture;
let directory: KeyDirectory;

beforeAll(async () => {
  auth = await startAuth();
  directory = rpcClient<KeyDirectory>(auth.rpc, 'auth.keys', KEY_DIRECTORY_METHODS);
});
afterAll(() => auth.stop());

interface KeyData {
  readonly id: string;
  readonly [member: string]: unknown;
}

async function create(
  user: string,
  body: object = { name: 'n' },
): Promise<{ readonly key: string; readonly data: KeyData; readonly answer: Answer }> {
  const answer = await auth.send('POST', '/api/keys', { user, body });
  expect(answer.status).toBe(201);
  return { key: answer.body['key'] as string, data: answer.body['key_data'] as KeyData, answer };
}

function find(key: string) {
  return directory.findByDigest(keyDigests(PEPPERS, key));
}

async function spend(scope: string, subjectId: string, usd: string): Promise<void> {
  await auth.superuser.query(
    `INSERT INTO budget.subject_spend (scope, subject_id, settled_usd) VALUES ($1, $2, $3)
     ON CONFLICT (scope, subject_id) DO UPDATE SET settled_usd = excluded.settled_usd`,
    [scope, subjectId, usd],
  );
}

function dashed(id: string): string {
  return id.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

describe('POST /api/keys', () => {
  test('201: a key is issued to its caller with every default and shown once (virtual-keys/1)', async () => {
    const { key, data, answer } = await create('user_123', { name: ' first ', max_budget: 100 });
    expect(isGeneratedKey(key)).toBe(true);
    expect(key).toHaveLength(82);
    expect(key.slice(6, 38)).toBe(data.id);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(answer.headers.get('x-request-id')).toMatch(/^req-[0-9a-f]{32}$/);
    expect(data).toEqual({
      id: data.id,
      name: 'first',
      user_id: 'user_123',
      team_id: null,
      created_at: data['created_at'],
      expires_at: null,
      status: 'active',
      allowed_models: ['*'],
      max_budget: 100,
      spent: 0,
      budget_remaining: 100,
      tpm_limit: null,
      rpm_limit: null,
      rpd_limit: null,
      concurrency_limit: null,
      last_used: null,
      total_requests: 0,
      metadata: {},
    });
    expect(await find(key)).toMatchObject({
      userId: 'user_123',
      block: null,
      budgetIds: [expect.any(String)],
    });
  });

  test('201: the owner is the caller, whatever the body says (virtual-keys/2)', async () => {
    const { data } = await create('user_123', { name: 'x', user_id: 'evil', anything: 1 });
    expect(data['user_id']).toBe('user_123');
  });

  test('201: the operator creates for itself, or for the user it names', async () => {
    const authorization = `admin ${ADMIN}`;
    const body = { name: 'x' };
    const own = await auth.send('POST', '/api/keys', { authorization, body });
    expect(own.body['key_data']).toMatchObject({ user_id: 'operator' });
    const acting = await auth.send('POST', '/api/keys', { authorization, body, user: 'bob' });
    expect(acting.body['key_data']).toMatchObject({ user_id: 'bob' });
    const listed = await auth.send('GET', '/api/keys', { user: 'bob' });
    expect(listed.body).toHaveLength(1);
  });

  test('401: nobody, a wrong secret and a foreign scheme are refused before their input (virtual-keys/3)', async () => {
    const detail = 'Authentication required (X-User-ID header)';
    const refusals = await Promise.all([
      auth.send('POST', '/api/keys', { body: { name: 'x' } }),
      auth.send('POST', '/api/keys', { body: {} }),
      auth.send('POST', '/api/keys', { body: { name: 'x' }, authorization: 'ADMIN wrong' }),
      auth.send('POST', '/api/keys', {
        body: { name: 'x' },
        user: 'bob',
        authorization: `Bearer ${ADMIN}`,
      }),
    ]);
    for (const refusal of refusals) {
      expect(refusal).toMatchObject({ status: 401, body: { detail } });
    }
  });

  test.each([
    ['name', { name: '' }],
    ['name', { name: '   ' }],
    ['name', { name: 'x'.repeat(256) }],
    ['max_budget', { name: 'x', max_budget: 0 }],
    ['max_budget', { name: 'x', max_budget: -1 }],
    ['max_budget', { name: 'x', max_budget: '5' }],
    ['max_budget', { name: 'x', max_budget: 0.1234567890123456 }],
    ['expires_days', { name: 'x', expires_days: 0 }],
    ['rpm_limit', { name: 'x', rpm_limit: 0 }],
    ['rpm_limit', { name: 'x', rpm_limit: 5 }],
    ['allowed_models', { name: 'x', allowed_models: 'gpt-4' }],
    ['metadata', { name: 'x', metadata: { text: 'y'.repeat(16_384) } }],
    ['team_id', { name: 'x', team_id: '' }],
  ])('422: a faulty %s is named and nothing is created (virtual-keys/4)', async (member, body) => {
    const user = 'nobody-yet';
    const answer = await auth.send('POST', '/api/keys', { user, body });
    expect(answer.status).toBe(422);
    expect(answer.body['detail']).toMatchObject([{ loc: ['body', member] }]);
    expect((await auth.send('GET', '/api/keys', { user })).body).toEqual([]);
  });

  test('422: every faulty member is listed at once; a body that is no object is refused', async () => {
    const body = { name: '', max_budget: -1, tpm_limit: 10 };
    const answer = await auth.send('POST', '/api/keys', { user: 'u', body });
    const members = (answer.body['detail'] as { loc: string[] }[]).map(({ loc }) => loc[1]);
    expect(new Set(members)).toEqual(new Set(['max_budget', 'name', 'tpm_limit']));
    for (const bad of ['[]', 'null', '"x"', '{', '{"name":"a","name":"b"}']) {
      expect(await auth.send('POST', '/api/keys', { user: 'u', body: bad })).toMatchObject({
        status: 422,
      });
    }
  });

  test('403: an existing team takes keys of its members only; an unknown one is a label', async () => {
    const authorization = `ADMIN ${ADMIN}`;
    const body = { name: 'x', team_id: 'default' };
    expect((await auth.send('POST', '/api/keys', { user: 'carl', body })).status).toBe(403);
    const placed = await auth.send('POST', '/api/keys', { user: 'carl', authorization, body });
    expect(placed.status).toBe(201);
    expect((await auth.send('POST', '/api/keys', { user: 'carl', body })).status).toBe(201);
    const { data } = await create('carl', { name: 'x', team_id: 'no-team' });
    expect(data['team_id']).toBe('no-team');
  });

  test('a repeat under the same Idempotency-Key answers the same key without its secret', async () => {
    const options = { user: 'idem', body: { name: 'x' }, headers: { 'idempotency-key': 'k-1' } };
    const first = await auth.send('POST', '/api/keys', options);
    const again = await auth.send('POST', '/api/keys', options);
    expect(again.status).toBe(201);
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect(again.body).toEqual({ ...first.body, key: null });
    const other = await auth.send('POST', '/api/keys', { ...options, body: { name: 'y' } });
    expect(other.status).toBe(422);
    expect((await auth.send('GET', '/api/keys', { user: 'idem' })).body).toHaveLength(1);
  });
});

describe('GET /api/keys', () => {
  test('lists the own keys only, oldest first, never a part of a secret (virtual-keys/6)', async () => {
    const first = await create('lister');
    const second = await create('lister');
    const { text } = await auth.send('GET', '/api/keys', { user: 'lister' });
    expect((JSON.parse(text) as KeyData[]).map(({ id }) => id)).toEqual([
      first.data.id,
      second.data.id,
    ]);
    expect(text).not.toContain(first.key.slice(39));
    expect((await auth.send('GET', '/api/keys', { user: 'stranger' })).body).toEqual([]);
    const path = `/api/keys/${first.data.id}`;
    expect((await auth.send('GET', path, { user: 'stranger' })).status).toBe(403);
    expect(
      (
        await auth.send('GET', path.toUpperCase().replace('/API/KEYS', '/api/keys'), {
          user: 'lister',
        })
      ).status,
    ).toBe(200);
    expect(
      (await auth.send('GET', `/api/keys/${dashed(first.data.id)}`, { user: 'lister' })).status,
    ).toBe(200);
    const unknown = `/api/keys/${'0'.repeat(32)}`;
    expect(await auth.send('GET', unknown, { user: 'lister' })).toMatchObject({
      status: 404,
      body: { detail: 'Key not found' },
    });
    expect((await auth.send('GET', '/api/keys?status=bogus', { user: 'lister' })).status).toBe(422);
    await auth.send('DELETE', path, { user: 'lister' });
    const active = await auth.send('GET', '/api/keys?status=active', { user: 'lister' });
    expect(active.body).toMatchObject([{ id: second.data.id }]);
  });

  test('figures come from the budget authority and from reporting, exact to the last digit', async () => {
    const { data } = await create('figures', { name: 'x', max_budget: 0.5 });
    const keyId = dashed(data.id);
    await spend('key', keyId, '0.123456789012');
    auth.activity.set(keyId, { keyId, requests: 3, lastUsedMs: 1_767_225_600_000 });
    const { text, body } = await auth.send('GET', `/api/keys/${data.id}`, { user: 'figures' });
    expect(text).toContain('"spent":0.123456789012,"budget_remaining":0.376543210988,');
    expect(body).toMatchObject({ total_requests: 3, last_used: '2026-01-01T00:00:00.000Z' });
  });
});

describe('PUT /api/keys/{id}', () => {
  test('changes what is sent, ignores what cannot change, and refuses null names', async () => {
    const { data } = await create('putter', { name: 'a', metadata: { x: 1 } });
    const path = `/api/keys/${data.id}`;
    const body = { name: ' b ', allowed_models: ['gpt-*'], user_id: 'evil', spent: 7, id: 'z' };
    const changed = await auth.send('PUT', path, { user: 'putter', body });
    expect(changed.body).toEqual({ ...data, name: 'b', allowed_models: ['gpt-*'] });
    expect((await auth.send('PUT', path, { user: 'putter', body: { name: null } })).status).toBe(
      422,
    );
    expect((await auth.send('PUT', path, { user: 'other', body: {} })).status).toBe(403);
    const cleared = { allowed_models: null, metadata: null };
    const after = await auth.send('PUT', path, { user: 'putter', body: cleared });
    expect(after.body).toMatchObject({ allowed_models: ['*'], metadata: {}, name: 'b' });
  });

  test('an exhausted budget revokes, raising or clearing it reinstates (virtual-keys/11)', async () => {
    const { data } = await create('spender', { name: 'x', max_budget: 0.06 });
    const path = `/api/keys/${data.id}`;
    await spend('key', dashed(data.id), '0.06');
    const spent = await auth.send('GET', path, { user: 'spender' });
    expect(spent.body).toMatchObject({ status: 'revoked', budget_remaining: 0 });
    const raised = await auth.send('PUT', path, { user: 'spender', body: { max_budget: 1 } });
    expect(raised.body).toMatchObject({ status: 'active', budget_remaining: 0.94 });
    const cleared = await auth.send('PUT', path, { user: 'spender', body: { max_budget: null } });
    expect(cleared.body).toMatchObject({ max_budget: null, budget_remaining: null });
  });

  test('the data plane learns of exhaustion from the control topic, and older news change nothing', async () => {
    const { key, data } = await create('blocked', { name: 'x', max_budget: 1 });
    const rows = await auth.send('GET', `/api/budgets?scope_id=${data.id}`, { user: 'blocked' });
    const budgetId = (rows.body['data'] as KeyData[])[0]!.id;
    const announce = async (type: string, budgetRev: number, exhausted: boolean) =>
      auth.eventLog.append([
        {
          topic: TOPICS.control,
          partition: 0,
          key: budgetId,
          headers: { ce_type: type },
          value: Buffer.from(
            JSON.stringify({
              budget_id: budgetId,
              scope: 'key',
              subject_id: dashed(data.id),
              epoch: 1,
              budget_rev: budgetRev,
              exhausted,
              period: 'total',
              resets_at: null,
            }),
          ),
        },
      ]);
    await announce('budget.exceeded.v1', 5, true);
    await eventually(async () => (await find(key))?.block !== null, PATIENT);
    expect((await find(key))?.block).toEqual({
      reason: 'budget',
      scope: 'key',
      budget_id: budgetId,
      period: 'total',
      resets_at: null,
    });
    await announce('budget.reinstated.v1', 4, false);
    await announce('budget.reinstated.v1', 6, false);
    await announce('budget.exceeded.v1', 6, true);
    await eventually(async () => (await find(key))?.block === null, PATIENT);
    await auth.eventLog.append([
      {
        topic: TOPICS.control,
        partition: 0,
        key: 'x',
        headers: { ce_type: 'key.revoked.v1', note: '\0' },
        value: Buffer.from('{"budget_id":7}'),
      },
    ]);
    await announce('budget.exceeded.v1', 7, true);
    await eventually(async () => (await find(key))?.block !== null, PATIENT);
    const { rows: parked } = await auth.superuser.query('SELECT payload FROM auth.dead_letter');
    expect(parked.map((row) => String(row['payload']))).toEqual(['{"budget_id":7}']);
  });
});

describe('rotate and delete', () => {
  test('a rotated key keeps id and spend, the old secret ends at once (virtual-keys/12)', async () => {
    const { key, data } = await create('rotator', { name: 'x', max_budget: 1 });
    await spend('key', dashed(data.id), '0.25');
    const rotated = await auth.send('POST', `/api/keys/${data.id}/rotate`, { user: 'rotator' });
    expect(rotated.status).toBe(200);
    expect(rotated.headers.get('cache-control')).toBe('no-store');
    expect(rotated.body['key_data']).toMatchObject({ id: data.id, spent: 0.25 });
    expect(await find(key)).toBeNull();
    expect(await find(rotated.body['key'] as string)).toMatchObject({ userId: 'rotator' });
  });

  test('a grace keeps the former secret; a second rotation drops the oldest', async () => {
    const { key, data } = await create('graceful');
    const path = `/api/keys/${data.id}/rotate`;
    const options = { user: 'graceful', body: { grace_seconds: 60 } };
    const second = (await auth.send('POST', path, options)).body['key'] as string;
    expect(await find(key)).not.toBeNull();
    await auth.send('POST', path, options);
    expect(await find(key)).toBeNull();
    expect(await find(second)).not.toBeNull();
    const { expiresAtMs } = (await find(second))!;
    expect(expiresAtMs).toBeGreaterThan(auth.runtime.clock.nowMs());
    expect(expiresAtMs).toBeLessThan(auth.runtime.clock.nowMs() + 60_000);
    for (const grace_seconds of [-1, 2_592_001, 1.5, null]) {
      const answer = await auth.send('POST', path, { user: 'graceful', body: { grace_seconds } });
      expect(answer.status).toBe(422);
    }
  });

  test('DELETE disables, repeats, and is undone by is_active (virtual-keys/13)', async () => {
    const { key, data } = await create('deleter');
    const path = `/api/keys/${data.id}`;
    expect((await auth.send('DELETE', path, { user: 'other' })).status).toBe(403);
    for (let times = 0; times < 2; times += 1) {
      expect(await auth.send('DELETE', path, { user: 'deleter' })).toMatchObject({
        status: 204,
        text: '',
      });
    }
    expect((await auth.send('GET', path, { user: 'deleter' })).body).toMatchObject({
      status: 'inactive',
    });
    expect(await find(key)).toMatchObject({ enabled: false });
    const rotated = await auth.send('POST', `${path}/rotate`, { user: 'deleter' });
    expect(rotated.body['key_data']).toMatchObject({ status: 'inactive' });
    const revived = await auth.send('PUT', path, { user: 'deleter', body: { is_active: true } });
    expect(revived.body).toMatchObject({ status: 'active' });
  });
});

describe('POST /api/keys/validate', () => {
  test('always 200: a good key is shown, others get their literal (virtual-keys/7)', async () => {
    const { key, data } = await create('validated', { name: 'x', max_budget: 1 });
    const validate = (authorization: string) =>
      auth.send('POST', '/api/keys/validate', { authorization });
    const rule = { current: 0, limit: null, ok: true };
    const good = {
      valid: true,
      key_id: data.id,
      error: null,
      key_data: data,
      rate_limit_info: { tpm: rule, rpm: rule },
    };
    expect(await validate(`Bearer ${key}`)).toMatchObject({ status: 200, body: good });
    expect((await validate(key)).body).toEqual(good);
    const literals: [string, string][] = [
      ['abc', 'Invalid key format'],
      ['sk-xx-aa-bb', 'Invalid key prefix'],
      [`${key.slice(0, -1)}${key.endsWith('A') ? 'B' : 'A'}`, 'Key not found'],
      [`sk-mp-${'x-'.repeat(500)}`, 'Key not found'],
    ];
    for (const [presented, error] of literals) {
      const refused = { valid: false, key_id: null, error, key_data: null, rate_limit_info: null };
      expect((await validate(`Bearer ${presented}`)).body).toEqual(refused);
    }
    await spend('key', dashed(data.id), '1');
    const spent = { valid: false, key_id: data.id, error: 'Budget exceeded', key_data: null };
    expect((await validate(`bearer ${key}`)).body).toMatchObject(spent);
    await auth.send('DELETE', `/api/keys/${data.id}`, { user: 'validated' });
    expect((await validate(key)).body).toMatchObject({ error: 'Key is inactive' });
    expect(await auth.send('POST', '/api/keys/validate')).toMatchObject({ status: 422 });
  });
});

describe('effects', () => {
  test('every change is one event in commit order with a growing rev, and one audit row', async () => {
    const { data } = await create('events', { name: 'x', max_budget: 2.5 });
    const path = `/api/keys/${data.id}`;
    await auth.send('PUT', path, { user: 'events', body: { name: 'y' } });
    await auth.send('PUT', path, { user: 'events', body: { name: 'y' } });
    await auth.send('POST', `${path}/rotate`, { user: 'events' });
    await auth.send('DELETE', path, { user: 'events' });
    const keyId = dashed(data.id);
    const mine = await eventually(async () => {
      const events = (await auth.control()).filter(
        (event) => event.data['key_id'] === keyId || event.data['scope_id'] === keyId,
      );
      return events.length === 5 && events;
    }, PATIENT);
    expect(mine.map(({ type, data: state }) => [type, state['rev']])).toEqual([
      ['key.created.v1', 1],
      ['budget.defined.v1', 1],
      ['key.updated.v1', 2],
      ['key.rotated.v1', 3],
      ['key.disabled.v1', 4],
    ]);
    expect(mine[1]!.data['limit_pusd']).toBe(parseUsd('2.5').toString());
    const carried = mine.map((event) => (event.data['digests'] as string[] | undefined)?.length);
    expect(carried).toEqual([1, undefined, undefined, 1, undefined]);
    const { rows } = await auth.superuser.query(
      'SELECT actor, action FROM auth.audit_event WHERE subject = $1 ORDER BY seq',
      [`key ${keyId}`],
    );
    expect(rows).toEqual(
      ['key.created.v1', 'key.updated.v1', 'key.rotated.v1', 'key.disabled.v1'].map((action) => ({
        actor: 'user events',
        action,
      })),
    );
  });

  test('no table of any schema holds a key in plain text (virtual-keys/5)', async () => {
    const { key, data } = await create('canary', { name: 'x', max_budget: 1 });
    const headers = { 'idempotency-key': 'canary' };
    const path = `/api/keys/${data.id}/rotate`;
    const rotated = await auth.send('POST', path, { user: 'canary', headers });
    const secrets = [key, rotated.body['key'] as string].map((text) => text.slice(39));
    await eventually(
      async () =>
        (await auth.control()).some(
          ({ type, data: state }) =>
            type === 'key.rotated.v1' && state['key_id'] === dashed(data.id),
        ),
      PATIENT,
    );
    const { rows: tables } = await auth.superuser.query<{ schema: string; name: string }>(
      `SELECT table_schema AS schema, table_name AS name FROM information_schema.tables
       WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')`,
    );
    expect(tables.length).toBeGreaterThan(10);
    for (const { schema, name } of tables) {
      const { rows } = await auth.superuser.query<{ row: string }>(
        `SELECT t::text AS row FROM ${schema}.${name} t`,
      );
      const text = rows.map(({ row }) => row).join('\n');
      const bytes = text.replaceAll(/\\\\?x((?:[0-9a-f]{2})+)/g, (_all, hex: string) =>
        Buffer.from(hex, 'hex').toString('latin1'),
      );
      for (const secret of secrets) expect(bytes.includes(secret)).toBe(false);
    }
  });

  test('the service role reaches its own schema only, and cannot rewrite the audit trail', async () => {
    const own = auth.postgres.database('auth');
    for (const statement of [
      'SELECT * FROM budget.subject_spend',
      'SELECT * FROM metering.dead_letter',
      "UPDATE audit_event SET actor = 'nobody'",
      'DELETE FROM audit_event',
      'TRUNCATE price_version',
    ]) {
      await expect(own.query(statement)).rejects.toMatchObject({ code: '42501' });
    }
  });
});
