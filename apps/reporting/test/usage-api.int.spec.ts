import { randomUUID } from 'node:crypto';

import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';

import { AppError, Clock, picoUsd, uuidHex } from '#libs/kernel';
import {
  KEY_DIRECTORY_METHODS,
  KEY_DIRECTORY_SERVICE,
  KeyDirectory,
  keyDigests,
  parsePeppers,
  type KeyRecord,
  type ServedCatalog,
} from '#libs/keys/core';
import { createHttpApp } from '#libs/platform/http';
import { LocalRpc, rpcService } from '#libs/platform/rpc';
import { createRuntime } from '#libs/platform/telemetry';
import { openChdbDatabase } from '#libs/testing';
import { ClickHouseUsageReader, ClickHouseUsageStore } from '#libs/usage/adapters';
import { SAMPLE_TIME_MS, sampleUsageRow, storeBatch } from '#libs/usage/samples';
import {
  METERING_PROGRESS_METHODS,
  METERING_PROGRESS_SERVICE,
  MeteringProgress,
  type LedgerProgress,
  type UsageRow,
} from '#libs/usage/core';

import { ReportingModule } from '../src/index.js';

// The usage API over HTTP on the real engine. Keys and progress come from services of this file,
// bound to the same RPC ports as auth and metering.

const HOUR_MS = 3_600_000;
const ORG = 'default';
const ADMIN = 'an-operator-secret';
const PEPPERS = parsePeppers(
  `v2:${Buffer.alloc(32, 2).toString('base64')},v1:${Buffer.alloc(32, 1).toString('base64')}`,
);

class FixedClock extends Clock {
  nowMs(): number {
    return SAMPLE_TIME_MS + HOUR_MS;
  }
  monotonicMs(): number {
    return performance.now();
  }
}

/** Keys by their digest under the older pepper. */
class KeysOfTest extends KeyDirectory {
  private readonly records = new Map<string, KeyRecord>();

  add(secret: string, changes: Partial<KeyRecord> = {}): KeyRecord {
    const record: KeyRecord = {
      keyId: randomUUID(),
      orgId: ORG,
      userId: 'alice',
      teamId: null,
      enabled: true,
      deleted: false,
      expiresAtMs: null,
      allowedModels: ['*'],
      block: null,
      budgetIds: [],
      rev: 1,
      ...changes,
    };
    this.records.set(keyDigests(PEPPERS, secret).at(-1)!, record);
    return record;
  }
  async findByDigest(digests: readonly string[]): Promise<KeyRecord | null> {
    const found = digests.find((digest) => this.records.has(digest));
    return found === undefined ? null : this.records.get(found)!;
  }
  findByIds(): Promise<readonly KeyRecord[]> {
    throw new Error('not asked by reporting');
  }
  catalog(): Promise<ServedCatalog> {
    throw new Error('not asked by reporting');
  }
}

class ProgressOfTest extends MeteringProgress {
  answer: LedgerProgress | AppError = { completeThroughMs: SAMPLE_TIME_MS, missing: [] };

  async progress(): Promise<LedgerProgress> {
    if (this.answer instanceof AppError) throw this.answer;
    return this.answer;
  }
}

const keys = new KeysOfTest();
const progress = new ProgressOfTest();
const rpc = new LocalRpc();
const database = openChdbDatabase();
const store = new ClickHouseUsageStore(database.engine);
const reader = new ClickHouseUsageReader(database.engine);
const runtime = createRuntime({
  service: 'reporting',
  partitions: 3,
  logLevel: 'silent',
  clock: new FixedClock(),
});

let close: () => Promise<void>;
let base: string;

const mine = keys.add('sk-mine');
const other = keys.add('sk-other', { userId: 'bob', teamId: 'red' });
const newest = sampleUsageRow({
  keyId: mine.keyId,
  attempt: 2,
  occurredAtMs: SAMPLE_TIME_MS + 2000,
  costPicoUsd: picoUsd(1n),
  chargePicoUsd: picoUsd(2_500_000_000_000n),
  provenance: 'estimated_hold',
});
const rows: readonly UsageRow[] = [
  sampleUsageRow({ keyId: mine.keyId, occurredAtMs: SAMPLE_TIME_MS }),
  sampleUsageRow({ keyId: mine.keyId, occurredAtMs: SAMPLE_TIME_MS + 1000 }),
  newest,
  sampleUsageRow({ keyId: other.keyId, userId: 'bob', teamId: 'red', model: 'o3' }),
  sampleUsageRow({ orgId: 'another', keyId: mine.keyId }),
  sampleUsageRow({ keyId: mine.keyId, occurredAtMs: SAMPLE_TIME_MS - 30 * HOUR_MS }),
];

beforeAll(async () => {
  rpc.expose(rpcService<KeyDirectory>(KEY_DIRECTORY_SERVICE, keys, KEY_DIRECTORY_METHODS));
  rpc.expose(rpcService(METERING_PROGRESS_SERVICE, progress, METERING_PROGRESS_METHODS));
  await store.migrate();
  await storeBatch(store, rows);
  const app = await createHttpApp(
    ReportingModule.register({
      runtime,
      rpc,
      host: rpc,
      reader,
      adminApiKey: ADMIN,
      orgId: ORG,
      peppers: PEPPERS,
    }),
    runtime,
    { serviceName: 'reporting', adminApiKey: ADMIN, metricsToken: null },
  );
  await app.listen(0, '127.0.0.1');
  base = await app.getUrl();
  close = () => app.close();
});
afterAll(async () => {
  await close();
  await store.close();
  await reader.close();
  await database.drop();
});
beforeEach(() => {
  progress.answer = { completeThroughMs: SAMPLE_TIME_MS, missing: [] };
});

type Member = string | number | boolean | null;

/** The members of the bodies that the tests look at. */
interface Body {
  readonly [member: string]: unknown;
  readonly data: readonly Readonly<Record<string, Member>>[];
  readonly total: Readonly<Record<string, Member>>;
  readonly errors: readonly { readonly name: string }[];
}

interface Answer {
  readonly status: number;
  readonly type: string | null;
  readonly headers: Headers;
  readonly text: string;
  readonly body: Body;
}

async function get(path: string, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await fetch(`${base}${path}`, { headers });
  const text = await response.text();
  return {
    status: response.status,
    type: response.headers.get('content-type')?.split(';')[0] ?? null,
    headers: response.headers,
    text,
    body: JSON.parse(text) as Body,
  };
}

const operator = { authorization: `ADMIN ${ADMIN}` };
const me = { authorization: 'Bearer sk-mine' };

describe('GET /v1/usage', () => {
  test('200: the operator sees the whole organisation of the last 24 hours', async () => {
    const { status, text } = await get('/v1/usage', operator);
    expect(status).toBe(200);
    expect(text).toBe(
      '{"start":"2026-11-19T11:00:00.000Z","end":"2026-11-20T11:00:00.000Z","bucket":"none",' +
        '"data":[{"bucket_start":null,"requests":4,"tokens_in":400,"tokens_out":80,"tokens":480,' +
        '"cost_usd":"0.000081000001","charge_usd":"2.50009","estimated_requests":1}],' +
        '"total":{"bucket_start":null,"requests":4,"tokens_in":400,"tokens_out":80,"tokens":480,' +
        '"cost_usd":"0.000081000001","charge_usd":"2.50009","estimated_requests":1},' +
        '"complete_through":"2026-11-20T10:00:00.000Z","missing":[]}',
    );
  });

  test('200: buckets and groups in order, and a total over all of them', async () => {
    const { body } = await get(
      '/v1/usage?bucket=hour&group_by=team,model&start=2026-11-19T00:00:00Z&end=2026-11-21T00:00:00',
      operator,
    );
    expect(body.data).toMatchObject([
      { bucket_start: '2026-11-19T04:00:00.000Z', team: null, model: 'gpt-4o-mini', requests: 1 },
      { bucket_start: '2026-11-20T10:00:00.000Z', team: 'red', model: 'o3', requests: 1 },
      { bucket_start: '2026-11-20T10:00:00.000Z', team: null, model: 'gpt-4o-mini', requests: 3 },
    ]);
    expect(body.total).toMatchObject({ bucket_start: null, requests: 5, tokens: 600 });
  });

  test('200: an interval is half open', async () => {
    const { body } = await get(
      '/v1/usage?start=2026-11-20T10:00:00Z&end=2026-11-20T10:00:01Z&user_id=alice',
      operator,
    );
    expect(body.total['requests']).toBe(1);
  });

  test('200: nothing found is no rows and a total of zero', async () => {
    const { body } = await get('/v1/usage?model=none-such&group_by=model', operator);
    expect(body.data).toEqual([]);
    expect(body.total).toMatchObject({ requests: 0, cost_usd: '0', charge_usd: '0' });
  });

  test('200: a filter may be repeated and takes either spelling of a key id', async () => {
    const one = `key_id=${uuidHex(mine.keyId).toUpperCase()}`;
    expect((await get(`/v1/usage?${one}`, operator)).body.total['requests']).toBe(3);
    const { body } = await get(`/v1/usage?${one}&key_id=${other.keyId}&group_by=key`, operator);
    expect(body.data.map((row) => row['key'])).toEqual([mine.keyId, other.keyId].toSorted());
  });

  test.each([
    ['Bearer', { authorization: 'Bearer sk-mine' }],
    ['APIKEY', { authorization: 'apikey sk-mine' }],
    ['x-api-key', { 'x-api-key': 'sk-mine' }],
  ])('200: a key presented as %s sees its own rows only', async (_scheme, headers) => {
    const { status, body } = await get('/v1/usage?group_by=key', headers);
    expect(status).toBe(200);
    expect(body.data).toMatchObject([{ key: mine.keyId, requests: 3 }]);
  });

  test('200: a key that asks for another sees nothing', async () => {
    const { status, body } = await get(`/v1/usage?key_id=${other.keyId}`, me);
    expect(status).toBe(200);
    expect(body.data).toEqual([]);
    const both = await get(`/v1/usage?key_id=${other.keyId}&key_id=${mine.keyId}`, me);
    expect(both.body.total['requests']).toBe(3);
    expect((await get('/v1/usage?user_id=bob', me)).body.data).toEqual([]);
  });

  test('200: the admin secret as Bearer is the operator', async () => {
    const { body } = await get('/v1/usage', { authorization: `Bearer ${ADMIN}` });
    expect(body.total['requests']).toBe(4);
  });

  test('200: a key whose budget is spent still reads its own usage', async () => {
    const block = { budget_id: randomUUID(), reason: 'budget' } as never;
    const { keyId } = keys.add('sk-spent', { block });
    const { status, body } = await get(`/v1/usage?key_id=${keyId}`, { 'x-api-key': 'sk-spent' });
    expect([status, body.data]).toEqual([200, []]);
  });

  test('200: what is missing is listed, and an unknown progress claims nothing', async () => {
    progress.answer = {
      completeThroughMs: SAMPLE_TIME_MS - 1,
      missing: [
        {
          emitterId: 'ee',
          lane: 2,
          fromSeq: '18446744073709551614',
          toSeq: '18446744073709551615',
        },
      ],
    };
    expect((await get('/v1/usage', operator)).body).toMatchObject({
      complete_through: '2026-11-20T09:59:59.999Z',
      missing: [
        {
          emitter_id: 'ee',
          lane: 2,
          from_seq: '18446744073709551614',
          to_seq: '18446744073709551615',
        },
      ],
    });
    progress.answer = new AppError({
      code: 'rpc.unavailable',
      kind: 'unavailable',
      publicMessage: 'metering cannot be reached',
    });
    expect((await get('/v1/usage', operator)).body).toMatchObject({
      complete_through: null,
      missing: [],
      total: { requests: 4 },
    });
  });

  test('401: no credential, a wrong one, or a scheme that is not taken here', async () => {
    const wrong: Record<string, string>[] = [
      {},
      { authorization: 'Bearer sk-unknown' },
      { authorization: 'ADMIN wrong' },
      { authorization: 'Basic sk-mine' },
      { authorization: 'Bearer' },
      { authorization: 'Bearer sk-unknown', 'x-api-key': 'sk-mine' },
    ];
    for (const headers of wrong) {
      const { status, type, body, headers: answered } = await get('/v1/usage', headers);
      expect([status, type]).toEqual([401, 'application/problem+json']);
      expect(answered.get('www-authenticate')).toBe('Bearer');
      expect(body).toMatchObject({
        status: 401,
        code: 'usage.unauthenticated',
        detail: 'Invalid or missing API key',
      });
    }
    expect((await get('/v1/usage?api_key=sk-mine')).status).toBe(401);
  });

  test('401: a deleted, a disabled, an expired key and one of another organisation', async () => {
    keys.add('sk-deleted', { deleted: true });
    keys.add('sk-disabled', { enabled: false });
    keys.add('sk-expired', { expiresAtMs: SAMPLE_TIME_MS + HOUR_MS - 1 });
    keys.add('sk-foreign', { orgId: 'another' });
    for (const secret of ['sk-deleted', 'sk-disabled', 'sk-expired', 'sk-foreign']) {
      expect((await get('/v1/usage', { authorization: `Bearer ${secret}` })).status).toBe(401);
    }
  });

  test.each([
    ['an unknown member', 'strat=1', ['strat']],
    ['a member of the other route', 'limit=5', ['limit']],
    ['a time that is none', 'start=yesterday', ['start']],
    ['a day that its month does not have', 'end=2026-02-30T00:00:00Z', ['end']],
    [
      'an end that is not after the start',
      'start=2026-11-20T10:00:00Z&end=2026-11-20T10:00:00Z',
      ['end'],
    ],
    ['a bucket that is none', 'bucket=week', ['bucket']],
    ['a bucket given twice', 'bucket=day&bucket=day', ['bucket']],
    ['an unknown grouping', 'group_by=key,colour', ['group_by']],
    ['a grouping named twice', 'group_by=key,key', ['group_by']],
    ['four groupings', 'group_by=key,team,user,model', ['group_by']],
    ['an empty filter', 'model=', ['model']],
    ['several faults at once', 'bucket=x&foo=1&start=y', ['bucket', 'foo', 'start']],
  ])('400: %s is named', async (_what, query, names) => {
    const { status, type, body } = await get(`/v1/usage?${query}`, me);
    expect([status, type]).toEqual([400, 'application/problem+json']);
    expect(body['code']).toBe('input.invalid');
    const named = body.errors.map((error) => error.name);
    expect(named.toSorted()).toEqual(names);
  });
});

describe('GET /v1/usage/requests', () => {
  test('200: attempts newest first with every member', async () => {
    const { status, body } = await get('/v1/usage/requests', me);
    expect(status).toBe(200);
    expect(body).toMatchObject({ has_more: false, next_page: null, missing: [] });
    expect(body['complete_through']).toBe('2026-11-20T10:00:00.000Z');
    expect(body.data).toHaveLength(3);
    expect(body.data[0]).toEqual({
      request_id: `req-${uuidHex(newest.requestId)}`,
      attempt: 2,
      final: true,
      time: '2026-11-20T10:00:02.000Z',
      key_id: mine.keyId,
      team_id: null,
      user_id: 'alice',
      provider: 'openai',
      model: 'gpt-4o-mini',
      status: 'ok',
      tokens_in: 100,
      tokens_out: 20,
      tokens: 120,
      cost_usd: '0.000000000001',
      charge_usd: '2.5',
      price_state: 'priced',
      provenance: 'estimated_hold',
      source: 'proxy',
      latency_ms: 480,
    });
  });

  test('200: following next_page lists every attempt once', async () => {
    const seen: string[] = [];
    let page = '';
    for (let count = 0; count < 10; count += 1) {
      const { body } = await get(`/v1/usage/requests?limit=1${page}`, operator);
      seen.push(...body.data.map((one) => String(one['request_id'])));
      if (!body['has_more']) break;
      page = `&page=${String(body['next_page'])}`;
    }
    expect(seen).toHaveLength(4);
    expect(new Set(seen).size).toBe(4);
  });

  test('200: a page word of the operator shows a key no more than its own rows', async () => {
    const first = await get('/v1/usage/requests?limit=1', operator);
    const { body } = await get(`/v1/usage/requests?page=${String(first.body['next_page'])}`, me);
    const shown = body.data.map((one) => one['key_id']);
    expect(shown).toEqual([mine.keyId, mine.keyId]);
  });

  test.each([
    ['a limit of 0', 'limit=0', ['limit']],
    ['a limit above 1000', 'limit=1001', ['limit']],
    ['a limit that is no number', 'limit=1e2', ['limit']],
    ['a page word that is not ours', 'page=bm90LW91cnM', ['page']],
    ['a member of the other route', 'bucket=day', ['bucket']],
  ])('400: %s is named', async (_what, query, names) => {
    const { status, body } = await get(`/v1/usage/requests?${query}`, operator);
    expect(status).toBe(400);
    expect(body.errors.map((error) => error.name)).toEqual(names);
  });

  test('401: without a credential', async () => {
    expect((await get('/v1/usage/requests')).status).toBe(401);
  });
});

test('other services learn the activity of keys over RPC', async () => {
  const answer = await rpc.call('reporting.activity', 'activityOf', [ORG, [mine.keyId, 'none']]);
  expect(answer).toEqual([{ keyId: mine.keyId, requests: 4, lastUsedMs: SAMPLE_TIME_MS + 2000 }]);
  await expect(rpc.call('reporting.activity', 'sums', [])).rejects.toMatchObject({
    code: 'rpc.unknown_method',
  });
});

test('readiness names the usage reader', async () => {
  const { status, body } = await get('/health/ready');
  expect([status, body['checks']]).toEqual([200, { usage_reader: 'ok' }]);
});
