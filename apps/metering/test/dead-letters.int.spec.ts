/**
 * Guarantee: the operator sees every record that could not be read, byte for byte, and can have it
 * read again; whatever is retried, and however often, no money is counted twice.
 * Method: metering with its HTTP routes on a real PostgreSQL, its event log, and the embedded engine.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';

import { TOPICS } from '#libs/events';
import type { LogRecordInput } from '#libs/event-log/core';
import { openJobs } from '#libs/jobs/adapters';
import type { Jobs } from '#libs/jobs/core';
import { AppError } from '#libs/kernel';
import {
  DEAD_LETTER_DESK_METHODS,
  DeadLetterDesk,
  refuseRetry,
  type StoredDeadLetter,
} from '#libs/platform/postgres';
import { rpcService } from '#libs/platform/rpc';
import { createRuntime } from '#libs/platform/telemetry';
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
});
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
    ['/metering/request.completed/0/0', 'GET'],
    ['/metering/request.completed/0/0/retry', 'POST'],
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
      next_cursor: 'metering/request.completed/0/0',
      data: [
        {
          id: 'metering/request.completed/0/0',
          class: 'malformed',
          hold: 'booked',
          state: 'parked',
        },
      ],
    },
  });
  const second = await call(`?limit=1&cursor=${String(first.body['next_cursor'])}`);
  expect(second.body).toMatchObject({
    has_more: false,
    next_cursor: null,
    data: [{ id: 'metering/request.completed/0/1', class: 'not_json', hold: 'unknown' }],
  });
  expect((await call('?state=retried')).body['data']).toEqual([]);
  expect((await call('?topic=request.rejected')).body['data']).toEqual([]);
  expect((await call('?service=auth')).body['data']).toEqual([]);
  for (const query of ['state=lost', 'page=2', 'service=proxy', 'cursor=request.completed/0/1']) {
    expect(await call(`?${query}`)).toMatchObject({ status: 400 });
  }
});

test('a letter is shown with its record byte for byte', async () => {
  const record = { ...bench.emitter.completed(bench.sample(1)), value: Buffer.from([0x7b, 0xff]) };
  await at.eventLog.append([record]);
  await bench.caughtUp(at);
  expect(await call('/metering/request.completed/0/0')).toMatchObject({
    status: 200,
    body: {
      key: record.key,
      headers: record.headers,
      payload_text: '{\ufffd',
      payload_hex: '7bff',
    },
  });
  expect(await call('/metering/request.completed/0/9')).toMatchObject({
    status: 404,
    body: { code: 'dead_letter.unknown' },
  });
});

test('a record that can be read today is booked once, however often it is retried', async () => {
  const event = bench.sample(1, { hold: { hold_id: 'h.1', budgets: [] } });
  await park(bench.emitter.completed(event), 900);
  const answers = await Promise.all(
    [1, 2, 3].map(() => call('/metering/request.completed/0/900/retry', 'POST')),
  );
  for (const answer of answers) {
    expect(answer).toMatchObject({ status: 200, body: { state: 'retried' } });
  }
  await eventually(async () => (await bench.sums()).rows === 1);
  await call('/metering/request.completed/0/900/retry', 'POST');
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
  expect((await call('/metering/request.completed/0/0')).body).toMatchObject({
    class: 'no_stream',
  });
  const answer = await call('/metering/request.completed/0/0/retry', 'POST');
  expect(answer).toMatchObject({ status: 200, body: { state: 'retried' } });
  // The emitter sends it again, this time to the right partition.
  await at.eventLog.append([{ ...stray, partition: 2 }]);
  await bench.reached(at, 2, 2n, 60_000);
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
    const answer = await call(`/metering/request.completed/0/${offset}/retry`, 'POST');
    expect(answer).toMatchObject({ status: 409, body: { code } });
  }
  const { rows } = await at.database.query(`SELECT 1 FROM dead_letter WHERE state = 'parked'`);
  expect(rows.length).toBe(3);
  expect(await bench.sums()).toMatchObject({ rows: 1 });
});

describe('letters of other services', () => {
  /** Another service with letters on `control`, on its own schema. */
  async function other(
    service: 'auth' | 'budget-enforcer',
    offsets: readonly number[],
    retry: (letter: StoredDeadLetter) => void = () => undefined,
  ): Promise<DeadLetterDesk> {
    const schema = service === 'auth' ? 'auth' : 'budget';
    const database = bench.postgres.database(schema);
    for (const offset of offsets) {
      await database.query(
        `INSERT INTO dead_letter (topic, partition, "offset", class, error, key, headers, payload, booked)
         VALUES ('control', 0, $1, 'malformed', 'epoch', 'k', '{}', '{"epoch":', false)`,
        [offset],
      );
    }
    const parts = {
      service,
      database,
      retry: async (_tx: unknown, it: StoredDeadLetter) => retry(it),
    };
    return new DeadLetterDesk(parts);
  }

  function offer(desk: DeadLetterDesk, schema: 'auth' | 'budget'): void {
    at.rpc.expose(rpcService(`${schema}.dead-letters`, desk, DEAD_LETTER_DESK_METHODS));
  }

  function idsOf({ body }: Answer): readonly string[] {
    return (body['data'] as readonly { readonly id: string }[]).map(({ id }) => id);
  }

  test('stand in one list, page by page, and one that does not answer is named', async () => {
    offer(await other('auth', [5, 6]), 'auth');
    await park(bench.emitter.completed(bench.sample(1)), 900);
    expect(await call()).toMatchObject({
      body: {
        data: [{ service: 'auth' }, { service: 'auth' }, { service: 'metering' }],
        unreachable: ['budget-enforcer'],
      },
    });
    offer(await other('budget-enforcer', [5]), 'budget');
    const seen: string[] = [];
    for (let path = '?limit=1'; path !== '';) {
      const page = await call(path);
      expect(page.body['unreachable']).toEqual([]);
      seen.push(...idsOf(page));
      const next = page.body['next_cursor'];
      path = typeof next === 'string' ? `?limit=1&cursor=${next}` : '';
    }
    expect(seen).toEqual([
      'auth/control/0/5',
      'auth/control/0/6',
      'budget-enforcer/control/0/5',
      'metering/request.completed/0/900',
    ]);
    expect(idsOf(await call('?service=budget-enforcer'))).toEqual(['budget-enforcer/control/0/5']);
    expect(await call('/budget-enforcer/control/0/5')).toMatchObject({
      status: 200,
      body: { service: 'budget-enforcer', hold: 'none', payload_text: '{"epoch":' },
    });
    expect(await call('/proxy/control/0/5')).toMatchObject({ status: 404 });
  });

  test('are retried by their own service, once', async () => {
    const done: bigint[] = [];
    const desk = await other('auth', [5, 6], ({ offset }) => {
      if (offset === 6n) throw refuseRetry('unreadable', 'it still cannot be read');
      done.push(offset);
    });
    offer(desk, 'auth');
    for (let n = 0; n < 2; n += 1) {
      const answer = await call('/auth/control/0/5/retry', 'POST');
      expect(answer).toMatchObject({ status: 200, body: { service: 'auth', state: 'retried' } });
    }
    expect(done).toEqual([5n]);
    expect(await call('/auth/control/0/6/retry', 'POST')).toMatchObject({
      status: 409,
      body: { code: 'dead_letter.unreadable' },
    });
    expect(await call('/auth/control/0/7/retry', 'POST')).toMatchObject({ status: 404 });
  });

  test('whose service is away are refused with 503 where no job can try again', async () => {
    at.rpc.expose(rpcService('auth.dead-letters', away, DEAD_LETTER_DESK_METHODS));
    expect(await call('/auth/control/0/5/retry', 'POST')).toMatchObject({ status: 503 });
  });

  test('are retried by a job when their service was away, and once for all calls', async () => {
    const jobs = await openTestJobs();
    try {
      const withJobs = await bench.member({ adminApiKey: SECRET, jobs });
      await withJobs.app.listen(0, '127.0.0.1');
      url = `${await withJobs.app.getUrl()}/api/dead-letters`;
      const done: bigint[] = [];
      const desk = await other('auth', [5], ({ offset }) => void done.push(offset));
      let isAway = true;
      const behind = {
        list: (...args: Parameters<DeadLetterDesk['list']>) => desk.list(...args),
        show: (place: string) => desk.show(place),
        retry: (place: string) => (isAway ? away.retry() : desk.retry(place)),
      };
      withJobs.rpc.expose(rpcService('auth.dead-letters', behind, DEAD_LETTER_DESK_METHODS));
      for (let n = 0; n < 3; n += 1) {
        expect(await call('/auth/control/0/5/retry', 'POST')).toMatchObject({
          status: 202,
          body: { id: 'auth/control/0/5', state: 'accepted' },
        });
      }
      isAway = false;
      await eventually(async () => (await call('/auth/control/0/5')).body['state'] === 'retried', {
        deadlineMs: 120_000,
      });
      expect(done).toEqual([5n]);
      await withJobs.stop();
    } finally {
      await jobs.close();
    }
  });
});

const away = {
  list: () => Promise.reject(unavailable()),
  show: () => Promise.reject(unavailable()),
  retry: () => Promise.reject(unavailable()),
};

function unavailable(): AppError {
  return new AppError({
    code: 'rpc.unavailable',
    kind: 'unavailable',
    publicMessage: 'service auth cannot be reached',
    retryable: true,
  });
}

function openTestJobs(): Promise<Jobs> {
  const runtime = createRuntime({ service: 'jobs', partitions: 3, logLevel: 'silent' });
  return openJobs({ redisUrl: null, databaseUrl: bench.postgres.url, runtime });
}
