/**
 * Guarantee: the operator sees every record that could not be read, byte for byte, and can have it
 * read again; whatever is retried, and however often, no money is counted twice.
 * Method: metering with its HTTP routes on a real PostgreSQL, its event log, and the embedded engine.
 */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';

import { TOPICS } from '#libs/events';
import type { LogRecordInput } from '#libs/event-log/core';
import { eventually, type TestPostgres } from '#libs/testing';

import { CHARGE, MeteringBench } from './metering-bench.js';
import { ratedMessages, startMeteringPostgres, type Member } from './metering-fixture.js';
import { keyInPartition } from './sample-events.js';

const SECRET = 'operator-secret-of-the-tests';

let keeper: TestPostgres;
let bench: MeteringBench;
let at: Member;
let url: string;

beforeAll(async () => {
  keeper = await startMeteringPostgres();
}, 60_000);
afterAll(() => keeper.stop());
beforeEach(async () => {
  bench = await MeteringBench.open();
  at = await bench.member({ adminApiKey: SECRET });
  await at.app.listen(0, '127.0.0.1');
  url = `${await at.app.getUrl()}/api/dead-letters`;
});
afterEach(() => bench.close());

interface Answer {
  readonly status: number;
  readonly type: string | null;
  readonly body: Record<string, unknown>;
}

async function call(path = '', method = 'GET', secret = SECRET): Promise<Answer> {
  const response = await fetch(url + path, {
    method,
    headers: { authorization: `ADMIN ${secret}` },
  });
  const body = (await response.json()) as Record<string, unknown>;
  return { status: response.status, type: response.headers.get('content-type'), body };
}

/** Parks records as an older release would have: the class is what it could not read then. */
async function park(
  record: LogRecordInput,
  offset: number,
  changes: { readonly booked?: boolean; readonly faultClass?: string } = {},
): Promise<void> {
  await at.database.query(
    `INSERT INTO dead_letter (topic, partition, "offset", class, error, key, headers, payload, booked)
     VALUES ($1, $2, $3, $4, 'of an older release', $5, $6, $7, $8)`,
    [
      record.topic,
      record.partition,
      offset,
      changes.faultClass ?? 'malformed',
      Buffer.from(record.key),
      Buffer.from(JSON.stringify(record.headers)),
      record.value,
      changes.booked ?? false,
    ],
  );
}

test('nobody but the operator sees a letter', async () => {
  for (const [path, method] of [
    ['', 'GET'],
    ['/request.completed/0/0', 'GET'],
    ['/request.completed/0/0/retry', 'POST'],
  ] as const) {
    const answer = await call(path, method, 'wrong');
    expect(answer).toMatchObject({ status: 401, body: { code: 'operator.unauthenticated' } });
    expect(answer.type).toContain('application/problem+json');
  }
});

test('letters are listed page by page, by state and topic, with what became of their holds', async () => {
  const broken = bench.emitter.completed(bench.sample(1));
  const unreadable = { ...bench.emitter.completed(bench.sample(2)), value: Buffer.from([0xff]) };
  const value = Buffer.from(
    broken.value.toString().replace('"usage":{"input_text":1000,"output_text":500}', '"usage":7'),
  );
  await at.eventLog.append([{ ...broken, value }, unreadable]);
  await bench.caughtUp(at);
  const first = await call('?limit=1');
  expect(first).toMatchObject({
    status: 200,
    body: {
      has_more: true,
      next_cursor: 'request.completed/0/0',
      data: [{ id: 'request.completed/0/0', class: 'malformed', hold: 'booked', state: 'parked' }],
    },
  });
  const second = await call(`?limit=1&cursor=${String(first.body['next_cursor'])}`);
  expect(second.body).toMatchObject({
    has_more: false,
    next_cursor: null,
    data: [{ id: 'request.completed/0/1', class: 'not_json', hold: 'unknown' }],
  });
  expect((await call('?state=retried')).body['data']).toEqual([]);
  expect((await call('?topic=request.rejected')).body['data']).toEqual([]);
  expect(await call('?state=lost&page=2')).toMatchObject({ status: 400 });
});

test('a letter is shown with its record byte for byte', async () => {
  const record = { ...bench.emitter.completed(bench.sample(1)), value: Buffer.from([0x7b, 0xff]) };
  await at.eventLog.append([record]);
  await bench.caughtUp(at);
  expect(await call('/request.completed/0/0')).toMatchObject({
    status: 200,
    body: {
      key: record.key,
      headers: record.headers,
      payload_text: '{\ufffd',
      payload_hex: '7bff',
    },
  });
  expect(await call('/request.completed/0/9')).toMatchObject({
    status: 404,
    body: { code: 'dead_letter.unknown' },
  });
});

test('a record that can be read today is booked once, however often it is retried', async () => {
  const event = bench.sample(1, { hold: { hold_id: 'h.1', budgets: [] } });
  await park(bench.emitter.completed(event), 900);
  const answers = await Promise.all(
    [1, 2, 3].map(() => call('/request.completed/0/900/retry', 'POST')),
  );
  for (const answer of answers) {
    expect(answer).toMatchObject({ status: 200, body: { state: 'retried' } });
  }
  await eventually(async () => (await bench.sums()).rows === 1);
  await call('/request.completed/0/900/retry', 'POST');
  await bench.caughtUp(at);
  expect(await bench.sums()).toEqual({ rows: 1, events: 1, chargePicoUsd: CHARGE });
  await eventually(async () => {
    const messages = await ratedMessages(at.eventLog);
    return messages.flatMap(({ holds }) => holds).length === 1;
  });
});

test('a record that came into the wrong partition is booked in its own', async () => {
  const event = bench.sample(1, { key_id: keyInPartition(2) });
  const stray = { ...bench.emitter.completed(event), partition: 0 };
  await at.eventLog.append([stray]);
  await bench.caughtUp(at);
  expect((await call('/request.completed/0/0')).body).toMatchObject({ class: 'no_stream' });
  const answer = await call('/request.completed/0/0/retry', 'POST');
  expect(answer).toMatchObject({ status: 200, body: { state: 'retried' } });
  // The emitter sends it again, this time to the right partition.
  await at.eventLog.append([{ ...stray, partition: 2 }]);
  await bench.reached(at, 2, 2n, 10_000);
  expect(await bench.sums()).toMatchObject({ rows: 1, events: 1 });
  const { rows } = await at.database.query(
    `SELECT partition FROM log_position WHERE topic = $1 AND next_offset > 0 ORDER BY 1`,
    [TOPICS.requestCompleted],
  );
  expect(rows).toEqual([{ partition: 0 }, { partition: 2 }]);
});

test('what cannot be put right is refused and stays parked', async () => {
  const good = bench.emitter.completed(bench.sample(1));
  await at.eventLog.append([good]);
  await bench.caughtUp(at);
  await park({ ...good, value: Buffer.from('{') }, 900, { faultClass: 'not_json' });
  await park(bench.emitter.completed(bench.sample(2)), 901, { booked: true });
  await park(good, 902, { faultClass: 'no_stream' });
  for (const [offset, code] of [
    [900, 'dead_letter.unreadable'],
    [901, 'dead_letter.booked'],
    [902, 'dead_letter.repeat'],
  ] as const) {
    const answer = await call(`/request.completed/0/${offset}/retry`, 'POST');
    expect(answer).toMatchObject({ status: 409, body: { code } });
  }
  const { rows } = await at.database.query(`SELECT 1 FROM dead_letter WHERE state = 'parked'`);
  expect(rows.length).toBe(3);
  expect(await bench.sums()).toMatchObject({ rows: 1 });
});
