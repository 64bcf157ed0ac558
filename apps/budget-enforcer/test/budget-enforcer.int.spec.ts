/**
 * Guarantee: the service as it runs, between a real event log and its callers, settles each message
 * once, announces every change, and loses nothing when it is killed.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';

import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';

import { eventHeaders, TOPICS, USAGE_RATED_V1, type UsageRatedV1 } from '#libs/events';
import { PostgresEventLog, productTopics, provisionTopics } from '#libs/event-log/adapters';
import { parseUsd, SystemClock, SystemRandom } from '#libs/kernel';
import { eventually, type TestPostgres } from '#libs/testing';

import { BUDGET_MAIN, startBudgetService, type BudgetService } from './budget-service.js';
import {
  definition,
  freshKey,
  Guard,
  rated,
  startGuardPostgres,
  untilAnswered,
  want,
} from './guard-fixture.js';

const SECRET = 'a-secret-of-the-test-services';
const PARTITIONS = 3;
/** Guards against waiting for ever. */
const PATIENT = { deadlineMs: 60_000 };

let postgres: TestPostgres;
let eventLog: PostgresEventLog;
let guard: Guard;
let nextOffset = 0;
const running = new Set<BudgetService>();

beforeAll(async () => {
  postgres = await startGuardPostgres();
  await provisionTopics(postgres.url, productTopics(PARTITIONS));
  guard = new Guard(postgres.database('budget'));
  eventLog = new PostgresEventLog({
    database: postgres.database('budget'),
    clock: new SystemClock(),
    random: new SystemRandom(),
  });
});

afterEach(async () => {
  await Promise.all([...running].map((service) => service.close('SIGKILL')));
});

afterAll(async () => {
  await eventLog.close();
  await postgres.stop();
});

async function startService(): Promise<BudgetService> {
  const service = await startBudgetService({
    DATABASE_URL: postgres.url,
    SERVICE_SECRET: SECRET,
    LOG_PARTITIONS: String(PARTITIONS),
  });
  running.add(service);
  return service;
}

function headers(type: string): Record<string, string> {
  return {
    ...eventHeaders({
      id: 'test',
      type,
      service: 'test',
      time: '2026-01-01T00:00:00.000Z',
      subject: 'test',
      partitionKey: 'test',
    }),
  };
}

async function appendTo(topic: string, type: string, values: readonly (object | string)[]) {
  await eventLog.append(
    values.map((value) => ({
      topic,
      partition: 0,
      key: 'test',
      headers: headers(type),
      value: Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)),
    })),
  );
}

/** The next batch of source partition 0. */
function nextRated(...args: [Parameters<typeof rated>[1], string]): UsageRatedV1 {
  const at = nextOffset;
  nextOffset += 10;
  return rated([at, at + 9], ...args);
}

/** The types of all events of `control`, in order, once `last` is among them. */
async function controlTypesUntil(last: string): Promise<readonly (string | undefined)[]> {
  return eventually(async () => {
    const limits = { maxRecords: 1_000, maxBytes: 1_000_000 };
    const records = await eventLog.read(TOPICS.control, 0, 0n, limits);
    const types = records.map((record) => record.headers['ce_type']);
    return types.includes(last) ? types : false;
  }, PATIENT);
}

async function figuresOf(budgetId: string) {
  const [figures] = await guard.authority.figures([budgetId]);
  if (figures === undefined) throw new Error('not defined yet');
  return figures;
}

async function readiness(service: BudgetService): Promise<{ status: number; checks: object }> {
  const response = await fetch(`${service.url}/health/ready`);
  const { checks } = (await response.json()) as { checks: object };
  return { status: response.status, checks };
}

describe('the service', () => {
  test('defined on the log, held over RPC, settled from the log, revoked and reinstated on the log', async () => {
    const service = await startService();
    const key = freshKey();
    const budget = definition(key, '0.5');
    const event = {
      budget_id: budget.budgetId,
      org_id: 'org',
      scope: 'key',
      scope_id: key.subjectId,
      period: 'total',
      limit_pusd: String(budget.limitPicoUsd),
      timezone: 'UTC',
      week_start: 'monday',
      thresholds: [0.8],
      enabled: true,
      fail_policy: 'closed',
      deleted: false,
      rev: 1,
    };
    await appendTo(TOPICS.control, 'key.created.v1', [{ key_id: key.subjectId }]);
    await appendTo(TOPICS.control, 'budget.defined.v1', [event]);
    await eventually(() => figuresOf(budget.budgetId), PATIENT);
    const hold = want([key], '0.5');
    const placed = await untilAnswered(() => service.authority.placeHolds('emitter', [hold]));
    expect(placed).toMatchObject([{ outcome: 'held', amountPicoUsd: parseUsd('0.5') }]);
    const first = nextRated([key], '0.2');
    const second = nextRated([key], '0.3');
    const ended = { hold_id: hold.holdId, charge_pusd: '300000000000', provenance: 'measured' };
    const held = { ...second, holds: [ended] };
    await appendTo(TOPICS.usageRated, USAGE_RATED_V1, [held, first, held, first]);
    await eventually(async () => (await figuresOf(budget.budgetId)).exhausted, PATIENT);
    expect(await figuresOf(budget.budgetId)).toMatchObject({
      settledPicoUsd: parseUsd('0.5'),
      heldPicoUsd: 0n,
    });
    await controlTypesUntil('key.revoked.v1');
    await appendTo(TOPICS.control, 'budget.deleted.v1', [{ ...event, deleted: true, rev: 2 }]);
    expect(await controlTypesUntil('key.reinstated.v1')).toEqual([
      'key.created.v1',
      'budget.defined.v1',
      'budget.threshold.v1',
      'budget.exceeded.v1',
      'key.revoked.v1',
      'budget.deleted.v1',
      'budget.reinstated.v1',
      'key.reinstated.v1',
    ]);
    await eventually(
      async () => expect(await readiness(service)).toMatchObject({ status: 200 }),
      PATIENT,
    );
    await eventually(async () => {
      const metrics = await (await fetch(`${service.url}/metrics`)).text();
      expect(metrics).toMatch(/^budget_rated_applied_total 2$/m);
      expect(metrics).toMatch(/^budget_rated_duplicate_total 2$/m);
    }, PATIENT);
    expect(await service.close('SIGTERM')).toBe(0);
  });

  test('a message that cannot be understood is set aside with its bytes and the next is settled', async () => {
    const service = await startService();
    const key = freshKey();
    await appendTo(TOPICS.usageRated, USAGE_RATED_V1, ['{"batch_id":', nextRated([key], '0.1')]);
    await eventually(
      async () => (await guard.authority.spendOf([key]))[0]?.settledPicoUsd === parseUsd('0.1'),
      PATIENT,
    );
    const { rows } = await guard.database.query('SELECT payload, error FROM dead_letter');
    expect(rows).toEqual([
      { payload: Buffer.from('{"batch_id":'), error: 'the event is malformed: value' },
    ]);
    await service.close('SIGTERM');
  });

  test('killed at random moments under load it settles every message exactly once', async () => {
    const key = freshKey();
    const budget = definition(key, '100');
    await guard.authority.applyDefinition(budget);
    const batches = Array.from({ length: 300 }, () => nextRated([key], '0.01'));
    const appending = (async () => {
      for (const batch of batches) await appendTo(TOPICS.usageRated, USAGE_RATED_V1, [batch]);
    })();
    for (let kill = 1; kill <= 4; kill += 1) {
      const service = await startService();
      const goal = parseUsd('0.4') * BigInt(kill);
      await eventually(
        async () => (await figuresOf(budget.budgetId)).settledPicoUsd >= goal,
        PATIENT,
      );
      await service.close('SIGKILL');
    }
    await appending;
    const service = await startService();
    await eventually(
      async () => (await figuresOf(budget.budgetId)).settledPicoUsd >= parseUsd('3'),
      PATIENT,
    );
    expect((await figuresOf(budget.budgetId)).settledPicoUsd).toBe(parseUsd('3'));
    const { rows } = await guard.database.query('SELECT count(*) AS n FROM applied_batch');
    expect(rows).toEqual([{ n: BigInt(nextOffset / 10) }]);
    await service.close('SIGTERM');
  }, 480_000);

  test('a call without the service secret is refused', async () => {
    const service = await startService();
    const response = await fetch(`${service.url}/internal/rpc/budget/figures`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: 'SERVICE wrong' },
      body: '[[]]',
    });
    expect(response.status).toBe(401);
    await service.close('SIGTERM');
  });

  test('a newer version of an event stops its partition and readiness says so', async () => {
    const service = await startService();
    await appendTo(TOPICS.usageRated, 'usage.rated.v2', [{}]);
    await eventually(async () => {
      const { status, checks } = await readiness(service);
      expect(status).toBe(503);
      expect(checks).toMatchObject({
        'budget.settlement': 'usage.rated/0 stopped: budget.newer_event',
      });
    }, PATIENT);
    await service.close('SIGTERM');
  });

  test('a faulty configuration is told whole and ends with code 2', async () => {
    const child = spawn(process.execPath, [BUDGET_MAIN], {
      env: { PATH: process.env['PATH'], PORT: 'x', SERVICE_SECRET: 'short', REDIS_URL: 'http://x' },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let errors = '';
    child.stderr.on('data', (text: Buffer) => (errors += text.toString()));
    // Its end, and that of its output.
    await once(child, 'close');
    expect(child.exitCode).toBe(2);
    expect(errors).toMatch(/REDIS_URL.*\n.*PORT.*\n.*DATABASE_URL.*\n.*SERVICE_SECRET/);
  });
});
