/**
 * Everything the running product writes keeps the published contract: calls of every shape and fate,
 * refusals, a budget spent and raised, keys, teams and prices; then every record of every topic is
 * read by SQL and validated, headers and data.
 */
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import { TOPICS, type UsageRatedV1 } from '#libs/events';
import { projectRoot } from '#libs/platform/config';
import { readSchemas, SchemaSet } from '#libs/platform/schema';
import { eventually } from '#libs/testing';

import { readRecords, type StoredRecord } from './harness/event-log-probe.js';
import { attemptOf, readBills } from './harness/oracle.js';
import { Tollgate, type Json, type TestModel } from './harness/tollgate.js';

const MODEL: TestModel = {
  id: 'fake-in1000-out500',
  inputTokens: 1000,
  outputTokens: 500,
  inputUsdPerMillion: '3',
  outputUsdPerMillion: '6',
};
const MAX_RECORD_BYTES = 65_536;
const ENVELOPE = 'urn:tollgate:event-part:envelope.v1';
/** Types that nothing of today's product writes: it cannot delete a key, nor change a team. */
const NOT_WRITTEN = [
  'key.deleted.v1',
  'team.updated.v1',
  'team.deleted.v1',
  'emitter.resend.v1',
  'emitter.lost.v1',
];
/** Written only where records are missing. */
const UNUSED_TOPICS: readonly string[] = [TOPICS.emitterResend];

const folder = join(projectRoot(), 'libs/events/schemas');
const events = readSchemas(folder);
const schemas = new SchemaSet([...events.values(), ...readSchemas(join(folder, 'parts')).values()]);

const tollgate = new Tollgate([MODEL], {}, [{ id: 'unpriced' }]);

beforeAll(() => tollgate.start());
afterAll(() => tollgate.destroy());

interface Call {
  readonly key: string;
  readonly body?: Record<string, unknown>;
  readonly headers?: Record<string, string>;
  readonly signal?: AbortSignal;
}

/** One call to its end. @returns its status; null when the connection broke */
async function call({ key, body = {}, headers = {}, signal }: Call): Promise<number | null> {
  try {
    const response = await fetch(`${tollgate.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', ...headers },
      body: JSON.stringify({
        model: MODEL.id,
        messages: [{ role: 'user', content: 'hello' }],
        ...body,
      }),
      ...(signal === undefined ? {} : { signal }),
    });
    await response.arrayBuffer();
    return response.status;
  } catch {
    return null;
  }
}

/** Calls of every shape, and one for each way in which the upstream can fail. */
async function callInEveryWay(key: string): Promise<void> {
  const faults = ['cut_before_headers', 'cut_mid_stream', 'error_mid_stream', 'omit_usage'].concat([
    'usage_string',
    'usage_negative',
    'usage_absurd',
    'usage_twice',
    'malformed',
  ]);
  const calls: Call[] = [
    { key },
    { key, body: { stream: true } },
    { key, body: { stream: true, stream_options: { include_usage: true } } },
    { key, body: { service_tier: 'auto', max_completion_tokens: 5 } },
    { key, body: { simulator: { cached_tokens: 400 } } },
    { key, body: { user: '😀'.repeat(300) }, headers: { 'x-request-id': 'é'.repeat(300) } },
    {
      key,
      headers: {
        'x-stainless-retry-count': '2',
        traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      },
    },
    ...[400, 401, 429, 500, 503].map((status) => ({ key, body: { simulator: { status } } })),
    ...faults.flatMap((fault) =>
      [false, true].map((stream) => ({ key, body: { stream, simulator: { fault } } })),
    ),
  ];
  for (const each of calls) await call(each);
}

/** A streamed call, and what happens as soon as the upstream has it. */
async function callUntil({ body = {}, ...rest }: Call, then: () => unknown): Promise<void> {
  const before = tollgate.attempts();
  const ended = call({ ...rest, body: { stream: true, ...body } });
  await eventually(() => Promise.resolve(tollgate.attempts() > before));
  await then();
  await ended;
}

/** The answer is read to its end all the same. */
async function leaveDuringCall(key: string): Promise<void> {
  const body = { simulator: { latency_ms: 50, chunks: 20, chunk_interval_ms: 50 } };
  for (;;) {
    const caller = new AbortController();
    await callUntil({ key, body, signal: caller.signal }, () => caller.abort());
    const records = await untilComplete();
    // On a machine that stood still the answer may have ended before its caller left.
    if (wordsOf(records, TOPICS.requestCompleted, 'status').includes('aborted')) return;
  }
}

/** The record of the call is written by the process that comes after. */
async function dieDuringCall(key: string): Promise<void> {
  const body = { simulator: { fault: 'hang_mid_stream' } };
  await callUntil({ key, body }, () => tollgate.endStandalone('SIGKILL'));
  await tollgate.startStandalone();
}

async function refuseInEveryWay(key: string): Promise<void> {
  const narrow = await tollgate.createKey({ allowed_models: ['other-*'] });
  const stopped = await tollgate.createKey();
  await tollgate.admin('PUT', `/api/keys/${stopped.id}`, { is_active: false });
  const answers = [
    await call({ key: narrow.key }),
    await call({ key, body: { model: 'nope' } }),
    await call({ key, body: { model: `${'😀'.repeat(100)}\0` } }),
    await call({ key, body: { model: 'unpriced' } }),
    await call({ key, body: { stream: 'yes' } }),
    await call({ key, body: { padding: 'a'.repeat(11 * 1024 * 1024) } }),
    await call({ key: stopped.key }),
  ];
  expect(answers.filter((status) => status === 200)).toEqual([]);
  await tollgate.admin('PUT', `/api/keys/${stopped.id}`, { is_active: true });
}

async function spendAndRaise(): Promise<void> {
  const { id, key } = await tollgate.createKey({ max_budget: 0.006 });
  expect(await call({ key })).toBe(200);
  const until = (status: string): Promise<Json> =>
    eventually(async () => {
      const { body } = await tollgate.admin('GET', `/api/keys/${id}`);
      return body.status === status ? body : false;
    });
  await until('revoked');
  expect(await call({ key })).toBe(401);
  await tollgate.admin('PUT', `/api/keys/${id}`, { max_budget: 1 });
  await until('active');
}

async function administrate(): Promise<void> {
  await tollgate.admin('POST', '/teams', { team_id: 'crew', team_name: 'Crew 😀' });
  await tollgate.admin('POST', '/teams', {
    team_id: 'limited',
    team_name: 'Limited',
    description: 'A team of its own policy',
    policy: 'small',
    token_limit: 1000,
    time_window: '1h30m',
  });
  const { id, key } = await tollgate.createKey({ team_id: 'crew', expires_days: 1, name: '漢 😀' });
  const label = await tollgate.createKey({ team_id: 'no-such-team' });
  expect([await call({ key }), await call({ key: label.key })]).toEqual([200, 200]);
  const budget = await tollgate.admin('PUT', '/api/budgets', {
    scope: 'team',
    scope_id: 'crew',
    period: 'total',
    limit_usd: '9999999999',
    thresholds: [0.5, 1],
  });
  await tollgate.admin('PUT', `/api/keys/${id}`, { name: 'renamed' });
  await tollgate.admin('POST', `/api/keys/${id}/rotate`, { grace_seconds: 60 });
  await tollgate.admin('DELETE', `/api/budgets/${budget.body.id}`);
  await tollgate.admin('DELETE', `/api/keys/${id}`);
}

/** What is wrong with a record, with its place; empty when it keeps the contract. */
function faultsOf({ topic, partition, offset, key, headers, value }: StoredRecord): string[] {
  const { ce_type: type, ce_dataschema: schema = '', ce_partitionkey: subject } = headers;
  const faults = [...schemas.faultsOf(ENVELOPE, headers)];
  if (schema !== `urn:tollgate:event:${type}`) faults.push('the schema is not that of the type');
  if (key !== subject && topic !== TOPICS.usageRated) faults.push('the key is not the subject');
  if (value.length > MAX_RECORD_BYTES) faults.push(`${value.length} bytes`);
  faults.push(...schemas.faultsOf(schema, JSON.parse(value.toString())));
  return faults.map((fault) => `${topic}/${partition}@${offset} ${type}: ${fault}`);
}

/** The different values of a member in the records of a topic, ascending. */
function wordsOf(records: readonly StoredRecord[], topic: string, name: string): string[] {
  const found = records
    .filter((record) => record.topic === topic)
    .map(({ value }) => String((JSON.parse(value.toString()) as Json)[name]));
  return [...new Set(found)].toSorted();
}

/**
 * Whether every attempt that reached the upstream is recorded, and every recorded one was rated. A
 * record that was on its way when the process died may be there twice.
 */
function isComplete(records: readonly StoredRecord[]): boolean {
  const bodies = records
    .filter(({ topic }) => topic === TOPICS.requestCompleted)
    .map(({ value }) => value.toString());
  const recorded = new Set(bodies.map(attemptOf));
  const batches = records
    .filter(({ topic }) => topic === TOPICS.usageRated)
    .map(({ value }) => JSON.parse(value.toString()) as UsageRatedV1);
  const rated = [...new Map(batches.map((batch) => [batch.batch_id, batch])).values()]
    .flatMap(({ subjects }) => subjects)
    .filter(({ scope }) => scope === 'organisation')
    .reduce((sum, { events: count }) => sum + count, 0);
  const attempts = [...readBills(tollgate.simulatorLog).keys()];
  return attempts.every((id) => recorded.has(id)) && rated === recorded.size;
}

/** Every record of the log once nothing of calls is under way. */
function untilComplete(
  isEnough: (records: readonly StoredRecord[]) => boolean = () => true,
): Promise<readonly StoredRecord[]> {
  return eventually(
    async () => {
      const records = await readRecords(tollgate.dataDir);
      return isComplete(records) && isEnough(records) ? records : false;
    },
    { deadlineMs: 60_000 },
  );
}

/** The types of the records. */
function typesOf(records: readonly StoredRecord[]): ReadonlySet<string> {
  return new Set(records.map(({ headers }) => headers['ce_type'] ?? ''));
}

describe('the event log of a used installation', () => {
  test('holds no record that breaks its schema, and every type that is written', async () => {
    const { key } = await tollgate.createKey();
    await leaveDuringCall(key);
    await callInEveryWay(key);
    await dieDuringCall(key);
    await refuseInEveryWay(key);
    await spendAndRaise();
    await administrate();
    const written = [...events.keys()].filter((type) => !NOT_WRITTEN.includes(type));
    // What administration changed comes by outboxes of its own.
    const records = await untilComplete((found) =>
      written.every((type) => typesOf(found).has(type)),
    );

    expect(records.flatMap(faultsOf)).toEqual([]);
    const words = (name: string) => wordsOf(records, TOPICS.requestCompleted, name);
    expect(words('source')).toEqual(['proxy', 'recovery']);
    expect(words('provenance')).toEqual(['estimated_hold', 'estimated_partial', 'measured']);
    const statuses = ['aborted', 'ok', 'partial', 'provider_error', 'refused', 'unknown'];
    expect(words('status')).toEqual(statuses);
    expect(wordsOf(records, TOPICS.requestRejected, 'reason')).toEqual(
      expect.arrayContaining(['disabled', 'invalid', 'model', 'model_unknown', 'price_unknown']),
    );
    expect([...typesOf(records)].toSorted()).toEqual(written.toSorted());
    const used = Object.values(TOPICS).filter((topic) => !UNUSED_TOPICS.includes(topic));
    expect(new Set(records.map(({ topic }) => topic))).toEqual(new Set(used));
  });
});
