import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import { BUDGET_AUTHORITY_METHODS, BUDGET_SERVICE, type BudgetAuthority } from '#libs/budgets/core';
import { parseUsd } from '#libs/kernel';
import { KEY_DIRECTORY_METHODS, type KeyDirectory } from '#libs/keys/core';
import { rpcClient } from '#libs/platform/rpc';
import { PRICE_DIRECTORY_METHODS, type PriceDirectory } from '#libs/pricing/core';
import { startTestPostgres } from '#libs/testing';
import { POSTGRES_MIGRATIONS } from '#migrations';

import { ADMIN, startAuth, type Answer, type AuthFixture } from './auth-fixture.js';

let auth: AuthFixture;
const authorization = `ADMIN ${ADMIN}`;

beforeAll(async () => {
  auth = await startAuth();
});
afterAll(() => auth.stop());

async function createKey(user: string, body: object = {}): Promise<string> {
  const given = { name: 'n', ...body };
  const answer = await auth.send('POST', '/api/keys', { user, authorization, body: given });
  expect(answer.status).toBe(201);
  return (answer.body['key_data'] as { id: string }).id;
}

function dashed(id: string): string {
  return id.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

describe('/teams', () => {
  const team = {
    team_id: 'test-team',
    team_name: 'Test Team',
    policy: 'test-tokens',
    token_limit: 100_000,
    time_window: '1h',
  };

  test('200, then 409; faulty input is 400 with one sentence (teams/1)', async () => {
    const created = await auth.send('POST', '/teams', { authorization, body: team });
    expect(created.status).toBe(200);
    expect(created.body).toEqual({
      team_id: 'test-team',
      team_name: 'Test Team',
      description: '',
      policy: 'test-tokens',
      created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
    });
    const again = await auth.send('POST', '/teams', { authorization, body: team });
    expect(again).toMatchObject({ status: 409, text: '{"error":"team test-team already exists"}' });
    for (const body of [
      { ...team, team_id: 'Bad_ID' },
      { ...team, team_id: 'x'.repeat(64) },
      { team_id: 'unnamed' },
      { ...team, team_id: 'windowed', time_window: '1d' },
      { team_id: 'limited', team_name: 'L', token_limit: 5 },
      { team_id: 'limited', team_name: 'L', policy: 'unlimited-policy', time_window: '1m' },
    ]) {
      const refused = await auth.send('POST', '/teams', { authorization, body });
      expect(refused).toMatchObject({ status: 400, body: { error: expect.any(String) } });
    }
    const { body } = await auth.send('GET', '/teams', { authorization });
    expect((body['teams'] as object[]).length).toBe(2);
  });

  test('401 names what is wrong; Bearer with the operator secret works (teams/2)', async () => {
    const cases: [string | undefined, string][] = [
      [undefined, 'Authorization header required'],
      ['Basic x', 'Invalid authorization format. Use: Authorization: ADMIN <key>'],
      ['ADMIN wrong', 'Invalid admin key'],
      ['Bearer wrong', 'Invalid admin key'],
    ];
    for (const [header, error] of cases) {
      const options = header === undefined ? {} : { authorization: header };
      expect(await auth.send('GET', '/teams', options)).toMatchObject({
        status: 401,
        text: JSON.stringify({ error }),
      });
    }
    const bearer = await auth.send('GET', '/teams', { authorization: `Bearer ${ADMIN}` });
    expect(bearer.status).toBe(200);
  });

  test('an existing policy changes only when limits are given, and the answer says so', async () => {
    const shared = { team_name: 'T', policy: 'shared' };
    const post = (body: object) => auth.send('POST', '/teams', { authorization, body });
    await post({ ...shared, team_id: 's1', token_limit: 0 });
    expect((await post({ ...shared, team_id: 's2' })).body).not.toHaveProperty('policy_updated');
    const third = await post({ ...shared, team_id: 's3', time_window: '1h30m' });
    expect(third.body).toMatchObject({ policy_updated: true });
    expect((await auth.send('GET', '/teams/s1', { authorization })).body).toMatchObject({
      token_limit: 100_000,
      time_window: '1h30m',
    });
  });

  test('counts and members follow the listed keys; default is there on a fresh boot (teams/9, teams/10)', async () => {
    await auth.send('POST', '/teams', {
      authorization,
      body: { team_id: 'crew', team_name: 'Crew' },
    });
    const first = await createKey('zoe', { team_id: 'crew' });
    await createKey('zoe', { team_id: 'crew' });
    await createKey('adam', { team_id: 'crew' });
    const list = await auth.send('GET', '/teams', { authorization });
    const teams = list.body['teams'] as { team_id: string }[];
    expect(list.body['total_teams']).toBe(teams.length);
    expect(teams.map(({ team_id }) => team_id)).toContain('default');
    expect(teams.find(({ team_id }) => team_id === 'crew')).toMatchObject({
      key_count: 3,
      user_count: 2,
    });
    const detail = await auth.send('GET', '/teams/crew', { authorization });
    expect(detail.body).toMatchObject({
      policy: 'unlimited-policy',
      token_limit: null,
      time_window: null,
      key_count: 3,
      users: [
        {
          user_id: 'adam',
          role: 'member',
        },
        { user_id: 'zoe' },
      ],
    });
    for (const name of detail.body['keys'] as string[]) {
      expect(name).toMatch(/^apikey-(zoe|adam)-crew-[0-9a-f]{8}$/);
    }
    await auth.send('DELETE', `/api/keys/${first}`, { authorization });
    const after = await auth.send('GET', '/teams/crew', { authorization });
    expect(after.body).toMatchObject({ key_count: 2, user_count: 2 });
    expect(await auth.send('GET', '/teams/none', { authorization })).toMatchObject({
      status: 404,
      text: '{"error":"Team not found"}',
    });
  });
});

describe('/api/budgets', () => {
  const put = (body: object, options: object = { authorization }): Promise<Answer> =>
    auth.send('PUT', '/api/budgets', { ...options, body });

  test('a row is created, replaced, read, filtered, and is the key view of max_budget (budgets/1)', async () => {
    const id = await createKey('owner');
    const target = { scope: 'key', scope_id: id, period: 'total' };
    const created = await put({ ...target, limit_usd: '0.05' });
    expect(created.status).toBe(201);
    expect(created.body).toEqual({
      id: created.body['id'],
      ...target,
      scope_id: dashed(id),
      limit_usd: '0.05',
      timezone: 'UTC',
      week_start: 'monday',
      thresholds: [0.8],
      enabled: true,
      fail_policy: 'closed',
      spent_usd: '0',
      held_usd: '0',
      remaining_usd: '0.05',
      period_start: null,
      period_end: null,
      status: 'ok',
      created_at: expect.any(String),
      updated_at: expect.any(String),
    });
    const path = `/api/budgets/${created.body['id'] as string}`;
    const replaced = await put({ ...target, limit_usd: '0.070', thresholds: [] });
    expect(replaced.status).toBe(200);
    expect(replaced.body).toMatchObject({ id: created.body['id'], limit_usd: '0.07' });
    const read = await auth.send('GET', path, { authorization });
    expect(read.body).toEqual(replaced.body);
    const filtered = await auth.send('GET', `/api/budgets?scope=key&scope_id=${id}`, {
      authorization,
    });
    expect(filtered.body).toEqual({ data: [read.body], has_more: false, next_page: null });
    const asKey = await auth.send('GET', `/api/keys/${id}`, { user: 'owner' });
    expect(asKey.body).toMatchObject({ max_budget: 0.07 });
    const body = { max_budget: 0.09 };
    await auth.send('PUT', `/api/keys/${id}`, { user: 'owner', body });
    const viewed = await auth.send('GET', path, { authorization });
    expect(viewed.body).toMatchObject({ limit_usd: '0.09', thresholds: [] });

    const stale = { 'if-match': read.headers.get('etag') ?? '' };
    const change = { body: { limit_usd: '1' }, authorization };
    expect(await auth.send('PUT', path, { ...change, headers: stale })).toMatchObject({
      status: 412,
      body: { detail: 'Budget was changed' },
    });
    const fresh = { 'if-match': viewed.headers.get('etag') ?? '' };
    expect((await auth.send('PUT', path, { ...change, headers: fresh })).status).toBe(200);
    for (let times = 0; times < 2; times += 1) {
      expect((await auth.send('DELETE', path, { authorization })).status).toBe(204);
    }
    expect((await auth.send('GET', path, { authorization })).status).toBe(404);
    expect((await auth.send('GET', `/api/keys/${id}`, { user: 'owner' })).body).toMatchObject({
      max_budget: null,
    });
  });

  test.each([
    ['limit_usd', { limit_usd: '-1' }],
    ['limit_usd', { limit_usd: 'abc' }],
    ['limit_usd', { limit_usd: 0.05 }],
    ['limit_usd', { limit_usd: '0.1234567890123' }],
    ['limit_usd', { limit_usd: '9999999999.5' }],
    ['period', { period: 'yearly' }],
    ['period', { period: 'daily' }],
    ['scope', { scope: 'user' }],
    ['timezone', { timezone: 'Mars/Base' }],
    ['thresholds', { thresholds: [0] }],
    ['thresholds', { thresholds: [0.8, 0.8] }],
    ['fail_policy', { fail_policy: 'bounded_open' }],
    ['surprise', { surprise: 1 }],
  ])('422 names a faulty %s and stores nothing (budgets/1)', async (member, fault) => {
    const id = await createKey('faulty');
    const row = { scope: 'key', scope_id: id, period: 'total', limit_usd: '1' };
    const answer = await put({ ...row, ...fault });
    expect(answer).toMatchObject({ status: 422, body: { detail: [{ loc: ['body', member] }] } });
    const rows = await auth.send('GET', `/api/budgets?scope_id=${id}`, { authorization });
    expect(rows.body['data']).toEqual([]);
  });

  test('404 for what is not there, 403 for a stranger, 401 for nobody', async () => {
    const id = await createKey('holder');
    const row = { scope: 'key', scope_id: id, period: 'total', limit_usd: '1' };
    const missing = { ...row, scope_id: '0'.repeat(32) };
    expect(await put(missing)).toMatchObject({ status: 404, body: { detail: 'Key not found' } });
    const noTeam = { ...row, scope: 'team', scope_id: 'nobody' };
    expect(await put(noTeam)).toMatchObject({ status: 404, body: { detail: 'Team not found' } });
    expect(await put(row, { user: 'stranger' })).toMatchObject({
      status: 403,
      body: { detail: 'Access denied' },
    });
    expect((await put(row, { user: 'holder' })).status).toBe(201);
    expect(await put(row, {})).toMatchObject({
      status: 401,
      body: { detail: 'Not authenticated' },
    });
    expect((await auth.send('GET', '/api/budgets/x', { authorization })).status).toBe(422);
    const own = await auth.send('GET', '/api/budgets', { user: 'holder' });
    expect(own.body['data']).toHaveLength(1);
    expect((await auth.send('GET', '/api/budgets', { user: 'stranger' })).body['data']).toEqual([]);
  });

  test('pages cover every row once, ascending by id', async () => {
    for (let nth = 0; nth < 3; nth += 1) await createKey('pager', { max_budget: 1 });
    const seen: string[] = [];
    let page: string | null = null;
    do {
      const query = page === null ? '' : `&page=${page}`;
      const path: string = `/api/budgets?limit=2${query}`;
      const { body }: Answer = await auth.send('GET', path, { user: 'pager' });
      seen.push(...(body['data'] as { id: string }[]).map(({ id }) => id));
      page = body['next_page'] as string | null;
    } while (page !== null);
    expect(seen).toHaveLength(3);
    expect(seen).toEqual(seen.toSorted());
  });

  test('a definition acts at once at the budget authority, and a team budget covers its keys', async () => {
    const team = { team_id: 'funded', team_name: 'F' };
    await auth.send('POST', '/teams', { authorization, body: team });
    const id = await createKey('member', { team_id: 'funded' });
    const row = { scope: 'team', scope_id: 'funded', period: 'total', limit_usd: '0' };
    const created = await put(row);
    expect(created.body).toMatchObject({ status: 'exceeded', remaining_usd: '0' });
    const authority = rpcClient<BudgetAuthority>(
      auth.rpc,
      BUDGET_SERVICE,
      BUDGET_AUTHORITY_METHODS,
    );
    // Without a wait: whoever is answered may spend at once.
    expect(await authority.figures([created.body['id'] as string])).toHaveLength(1);
    const limited = await auth.send('POST', '/api/keys', {
      user: 'quick',
      body: { name: 'x', max_budget: 0.5 },
    });
    const { id: quick } = limited.body['key_data'] as { id: string };
    const want = { holdId: 'quick.1', wantPicoUsd: parseUsd('1'), leastPicoUsd: parseUsd('1') };
    const subjects = [{ scope: 'key' as const, subjectId: dashed(quick) }];
    expect(await authority.placeHolds('e', [{ ...want, subjects }])).toMatchObject([
      { outcome: 'refused', reason: 'budget_exceeded' },
    ]);
    const key = await auth.send('GET', `/api/keys/${id}`, { user: 'member' });
    expect(key.body).toMatchObject({ status: 'revoked', max_budget: null });
    const directory = rpcClient<KeyDirectory>(auth.rpc, 'auth.keys', KEY_DIRECTORY_METHODS);
    expect(await directory.findByIds([dashed(id)])).toMatchObject([
      { budgetIds: [expect.any(String)] },
    ]);
    await put({ ...row, enabled: false });
    expect(await directory.findByIds([dashed(id)])).toMatchObject([{ budgetIds: [] }]);
    expect((await auth.send('GET', `/api/keys/${id}`, { user: 'member' })).body).toMatchObject({
      status: 'active',
    });
  });

  test('a team made later under a label adopts neither the key nor its spend', async () => {
    const id = await createKey('loner', { team_id: 'later' });
    await auth.send('POST', '/teams', {
      authorization,
      body: { team_id: 'later', team_name: 'L' },
    });
    await put({ scope: 'team', scope_id: 'later', period: 'total', limit_usd: '0' });
    expect((await auth.send('GET', `/api/keys/${id}`, { user: 'loner' })).body).toMatchObject({
      status: 'active',
      team_id: 'later',
    });
    const directory = rpcClient<KeyDirectory>(auth.rpc, 'auth.keys', KEY_DIRECTORY_METHODS);
    expect(await directory.findByIds([dashed(id)])).toMatchObject([
      { teamId: 'later', teamIsLabel: true, budgetIds: [], block: null },
    ]);
  });
});

describe('prices and catalogue', () => {
  test('the packaged sheets are published once and read back as they are', async () => {
    const prices = rpcClient<PriceDirectory>(auth.rpc, 'auth.prices', PRICE_DIRECTORY_METHODS);
    const book = await prices.currentBook();
    expect(book.version).toMatch(/^[0-9a-f]{64}$/);
    const [entry] = book.entries;
    expect(await prices.findEntry(entry!.priceId)).toEqual(entry);
    expect(await prices.findEntry('0'.repeat(64))).toBeNull();
    const { rows } = await auth.superuser.query(
      "SELECT type FROM auth.outbox WHERE topic = 'prices'",
    );
    expect(rows).toEqual([{ type: 'price.published.v1' }]);
  });

  test('pricing shows dollars per thousand tokens in force at a time', async () => {
    const path = '/api/billing/pricing';
    const now = await auth.send('GET', path, { user: 'anyone' });
    expect(now.body['simulator:fake-in1000-out500']).toMatchObject({
      model_name: 'fake-in1000-out500',
      provider: 'simulator',
      currency: 'USD',
      input_price_per_1k: 0.001,
      output_price_per_1k: 0.002,
    });
    const past = await auth.send('GET', `${path}?at=2000-01-01T00:00:00`, { user: 'anyone' });
    expect(past.body).toEqual({});
    expect((await auth.send('GET', `${path}?at=soon`, { user: 'anyone' })).status).toBe(422);
    expect((await auth.send('GET', path)).status).toBe(401);
  });

  test('every model of the packaged catalogue has a price', async () => {
    const directory = rpcClient<KeyDirectory>(auth.rpc, 'auth.keys', KEY_DIRECTORY_METHODS);
    const { models, providers } = await directory.catalog();
    const { body } = await auth.send('GET', '/api/billing/pricing', { user: 'anyone' });
    for (const { id, routes } of models)
      expect(body).toHaveProperty([`${routes[0]!.provider}:${id}`]);
    expect(providers.find(({ name }) => name === 'simulator')).toMatchObject({
      baseUrl: 'http://127.0.0.1:8090/v1',
      credentialEnv: null,
    });
  });
});

test('a faulty price sheet refuses the first start; later the version in force stays, and is not published again', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'tollgate-sheets-'));
  const postgres = await startTestPostgres({ migrations: POSTGRES_MIGRATIONS });
  try {
    await writeFile(join(folder, 'broken.json'), '{"provider":1}');
    const broken = { postgres, priceSheetsDir: folder };
    await expect(startAuth(broken)).rejects.toThrow('PRICE_SHEETS_DIR broken.json');
    const first = await startAuth({ postgres });
    const before = await first.send('GET', '/api/billing/pricing', { user: 'u' });
    await first.stop();
    for (const options of [broken, { postgres }]) {
      const again = await startAuth(options);
      const after = await again.send('GET', '/api/billing/pricing', { user: 'u' });
      expect(after.text).toBe(before.text);
      await again.stop();
    }
    const { rowCount } = await postgres.database(null).query('SELECT 1 FROM auth.price_version');
    expect(rowCount).toBe(1);
  } finally {
    await postgres.stop();
    await rm(folder, { recursive: true, force: true });
  }
});

test('without an operator secret administration is closed, and an untrusted X-User-ID is nobody (teams/2, virtual-keys/3)', async () => {
  const closed = await startAuth({ adminApiKey: null, trustUserIdHeader: false });
  try {
    const paths = ['/teams', '/api/keys', '/api/budgets', '/api/billing/pricing'];
    for (const path of paths) {
      for (const header of ['ADMIN null', `ADMIN ${ADMIN}`, 'ADMIN ', `Bearer ${ADMIN}`]) {
        const answer = await closed.send('GET', path, { authorization: header, user: 'bob' });
        expect(answer.status).toBe(401);
      }
    }
    expect((await closed.send('GET', '/api/keys', { user: 'bob' })).status).toBe(401);
    const headers = { 'x-tollgate-proxy-secret': 'trusted-proxy-secret' };
    expect((await closed.send('GET', '/api/keys', { user: 'bob', headers })).status).toBe(200);
  } finally {
    await closed.stop();
  }
});
