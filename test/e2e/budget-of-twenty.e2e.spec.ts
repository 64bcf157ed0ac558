/**
 * A key that can pay for exactly twenty calls, and fifty callers at once: twenty are served, never a
 * cent over, and every record of them agrees to the pico-dollar.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import OpenAI, { APIError } from 'openai';

import { delay } from '#libs/kernel';
import { eventually } from '#libs/testing';

import { Tollgate, type TestModel } from './harness/tollgate.js';
import { readBills, readControl, sumsOf } from './harness/oracle.js';

/** 1,000 tokens at $3 and 500 at $6 per million: exactly $0.006 a call. */
const MODEL: TestModel = {
  id: 'fake-in1000-out500',
  inputTokens: 1000,
  outputTokens: 500,
  inputUsdPerMillion: '3',
  outputUsdPerMillion: '6',
};
const AFFORDABLE = 20;
const LIMIT_USD = '0.12';
const LIMIT_PICO_USD = 120_000_000_000n;
const CALLERS = 50;

const tollgate = new Tollgate([MODEL]);

beforeAll(() => tollgate.start());
afterAll(() => tollgate.destroy());

function clientOf(key: string): OpenAI {
  return new OpenAI({ apiKey: key, baseURL: `${tollgate.url}/v1`, maxRetries: 0 });
}

/** Most tries of a walk; a budget is reserved until the calls under way are settled. */
const MOST_TRIES = 900;

/** Calls until served or refused for good; a reserved budget is waited for. */
async function walk(client: OpenAI): Promise<'served' | 'refused'> {
  for (let tries = 0; tries < MOST_TRIES; tries += 1) {
    try {
      await client.chat.completions.create({
        model: MODEL.id,
        messages: [{ role: 'user', content: 'hello' }],
      });
      return 'served';
    } catch (error) {
      if (!(error instanceof APIError)) throw error;
      if (error.status === 401 && error.code === 'budget_exceeded') {
        expect(error.headers?.get('x-should-retry')).toBe('false');
        return 'refused';
      }
      // An account that is busy for long, as on a slow disk, refuses too, and nothing is sent.
      if (error.code !== 'budget_unavailable') {
        expect(error).toMatchObject({ status: 429, code: 'budget_reserved' });
        expect(Number(error.headers?.get('retry-after'))).toBeGreaterThanOrEqual(1);
      }
      await delay(100);
    }
  }
  throw new Error('the walk did not end');
}

describe('a budget for twenty calls', () => {
  test('fifty parallel callers get exactly twenty answers and every record agrees', async () => {
    const { id, key } = await tollgate.createKey({ max_budget: Number(LIMIT_USD) });
    const client = clientOf(key);
    const ends = await Promise.all(Array.from({ length: CALLERS }, () => walk(client)));
    expect(ends.filter((end) => end === 'served')).toHaveLength(AFFORDABLE);
    await tollgate.usageEventually(`key_id=${id}`, (b) => b.total.requests === AFFORDABLE);

    await eventually(
      async () => ((await readControl(tollgate.dataDir)).openHolds === 0 ? true : false),
      { deadlineMs: 60_000 },
    );

    const sums = await sumsOf(tollgate, MODEL, id);
    await tollgate.startStandalone();
    expect(sums).toEqual({
      attempts: AFFORDABLE,
      simulatorPicoUsd: LIMIT_PICO_USD,
      spoolPicoUsd: LIMIT_PICO_USD,
      eventLogPicoUsd: LIMIT_PICO_USD,
      clickhousePicoUsd: LIMIT_PICO_USD,
      settledPicoUsd: LIMIT_PICO_USD,
      heldPicoUsd: 0n,
      openHolds: 0,
    });
    expect(readBills(tollgate.simulatorLog).size).toBe(AFFORDABLE);
  });

  test('a spent key is revoked, nothing of it goes upstream, and a raised budget reinstates it', async () => {
    const { id, key } = await tollgate.createKey({ max_budget: 0.006 });
    const client = clientOf(key);
    expect(await walk(client)).toBe('served');
    await eventually(
      async () => {
        const { body } = await tollgate.admin('GET', `/api/keys/${id}`);
        return body.status === 'revoked' ? true : false;
      },
      { deadlineMs: 60_000 },
    );
    expect(await walk(client)).toBe('refused');
    const raised = await tollgate.admin('PUT', `/api/keys/${id}`, { max_budget: 1 });
    expect(raised.body).toMatchObject({ status: 'active', max_budget: 1, spent: 0.006 });
    await eventually(() => walk(client).then((end) => (end === 'served' ? true : false)), {
      deadlineMs: 60_000,
    });
  });

  test('a team budget covers every key of the team and no other', async () => {
    await tollgate.admin('POST', '/teams', { team_id: 'crew', team_name: 'Crew' });
    const [first, second, outside] = await Promise.all([
      tollgate.createKey({ team_id: 'crew' }),
      tollgate.createKey({ team_id: 'crew' }),
      tollgate.createKey(),
    ]);
    const put = await tollgate.admin('PUT', '/api/budgets', {
      scope: 'team',
      scope_id: 'crew',
      period: 'total',
      limit_usd: '0.06',
    });
    expect(put.status).toBe(201);
    const clients = [first, second].map(({ key }) => clientOf(key));
    const ends = await Promise.all(Array.from({ length: 16 }, (_, at) => walk(clients[at % 2]!)));
    expect(ends.filter((end) => end === 'served')).toHaveLength(10);
    expect(await walk(clientOf(outside.key))).toBe('served');
    const budget = await eventually(
      async () => {
        const { body } = await tollgate.admin('GET', `/api/budgets/${put.body.id}`);
        return body.status === 'exceeded' ? body : false;
      },
      { deadlineMs: 60_000 },
    );
    expect(budget).toMatchObject({ spent_usd: '0.06', held_usd: '0', remaining_usd: '0' });
  });
});
