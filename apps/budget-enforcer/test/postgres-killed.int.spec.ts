/**
 * Guarantee: when PostgreSQL dies by kill -9 under load, what was answered stays, and what was in
 * doubt counts once when it is tried again by its id (E4).
 */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import type { PlaceHoldInput } from '#libs/budgets/core';
import { eventHeaders, TOPICS, USAGE_RATED_V1, type UsageRatedV1 } from '#libs/events';
import { PostgresEventLog, productTopics, provisionTopics } from '#libs/event-log/adapters';
import { parseUsd, SystemClock, SystemRandom } from '#libs/kernel';
import { Database, migratePostgres } from '#libs/platform/postgres';
import { ClusterPostgres, eventually } from '#libs/testing';
import { POSTGRES_MIGRATIONS } from '#migrations';

import { startBudgetService, type BudgetService } from './budget-service.js';
import { definition, freshKey, Guard, rated, untilAnswered, want } from './guard-fixture.js';

const KILLS = 6;
const EMITTER = 'emitter-of-the-test';
/** Attempts at least settled between two kills. */
const PER_KILL = 8;

let directory: string;
let postgres: ClusterPostgres;
let database: Database;
let eventLog: PostgresEventLog;
let service: BudgetService;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'tollgate-test-'));
  chmodSync(directory, 0o711);
  postgres = await ClusterPostgres.start(join(directory, 'data'));
  const { url } = postgres;
  const logger = { info: () => undefined };
  await migratePostgres({ url, migrations: POSTGRES_MIGRATIONS, logger });
  await provisionTopics(url, productTopics(1));
  database = new Database({
    url,
    schema: 'budget',
    applicationName: 'test',
    onIdleError: () => undefined,
  });
  const clock = new SystemClock();
  eventLog = new PostgresEventLog({ database, clock, random: new SystemRandom() });
  const SERVICE_SECRET = 'a-secret-of-the-test-services';
  service = await startBudgetService({ DATABASE_URL: url, SERVICE_SECRET, LOG_PARTITIONS: '1' });
}, 120_000);

afterAll(async () => {
  await service.close('SIGKILL');
  await eventLog.close();
  await database.close();
  await postgres.stop();
  rmSync(directory, { recursive: true, force: true });
});

async function append(batch: UsageRatedV1): Promise<void> {
  const headers = eventHeaders({
    id: 'test',
    type: USAGE_RATED_V1,
    service: 'test',
    time: '2026-01-01T00:00:00.000Z',
    subject: 'test',
    partitionKey: 'test',
  });
  const value = Buffer.from(JSON.stringify(batch));
  await untilAnswered(() =>
    eventLog.append([
      { topic: TOPICS.usageRated, partition: 0, key: 'test', headers: { ...headers }, value },
    ]),
  );
}

describe('PostgreSQL killed under load', () => {
  test('every hold is there once, every charge is settled once, nothing answered is gone', async () => {
    const key = freshKey();
    const budget = definition(key, '1000');
    await untilAnswered(() => service.authority.applyDefinition(budget));
    const stopping = new AbortController();
    const held: PlaceHoldInput[] = [];
    let settled = 0;
    /** One attempt after the other: hold, then charge; the hold of every third stays open. */
    const attempts = async (): Promise<void> => {
      while (!stopping.signal.aborted) {
        const hold = want([key], '0.01');
        const [result] = await untilAnswered(() => service.authority.placeHolds(EMITTER, [hold]));
        expect(result?.outcome).toBe('held');
        held.push(hold);
        if (held.length % 3 === 0) continue;
        const at = settled;
        settled += 1;
        await append(rated([at, at], [key], '0.004', [[hold.holdId, '0.004']]));
      }
    };
    const load = Promise.all([attempts(), attempts(), attempts(), attempts()]);
    for (let kill = 1; kill <= KILLS; kill += 1) {
      const goal = settled + PER_KILL;
      await eventually(() => settled >= goal, { deadlineMs: 60_000 });
      await postgres.kill();
      await postgres.restart();
    }
    stopping.abort();
    await load;

    const goal = parseUsd('0.004') * BigInt(settled);
    const guard = new Guard(database);
    const figures = async () => (await guard.authority.figures([budget.budgetId]))[0]!;
    await eventually(async () => expect((await figures()).settledPicoUsd).toBe(goal), {
      deadlineMs: 60_000,
    });
    const open = held.length - settled;
    expect((await figures()).heldPicoUsd).toBe(parseUsd('0.01') * BigInt(open));
    const { rows } = await database.query<{ state: string; n: bigint }>(
      'SELECT state, count(*) AS n FROM hold GROUP BY state ORDER BY state',
    );
    expect(rows).toEqual([
      { state: 'open', n: BigInt(open) },
      { state: 'settled', n: BigInt(settled) },
    ]);
    const stored = await database.query<{ hold_id: string }>('SELECT hold_id FROM hold');
    expect(new Set(stored.rows.map((row) => row.hold_id))).toEqual(
      new Set(held.map(({ holdId }) => holdId)),
    );
    expect(service.child.exitCode).toBe(null);
    await eventually(
      async () => expect((await fetch(`${service.url}/health/ready`)).status).toBe(200),
      { deadlineMs: 60_000 },
    );
  }, 480_000);
});
