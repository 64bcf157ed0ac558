/**
 * Guarantee: when PostgreSQL dies by kill -9 under administration, what was answered stays, and what
 * was in doubt happens once when it is asked for again under its key (E4).
 */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import { Database, migratePostgres } from '#libs/platform/postgres';
import { ClusterPostgres, eventually, type TestPostgres } from '#libs/testing';
import { POSTGRES_MIGRATIONS } from '#migrations';

import { startAuth, type Answer, type AuthFixture } from './auth-fixture.js';

const KILLS = 6;
/** Keys at least made between two kills. */
const PER_KILL = 10;

let directory: string;
let server: ClusterPostgres;
let auth: AuthFixture;
const pools: Database[] = [];

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'tollgate-test-'));
  chmodSync(directory, 0o711);
  server = await ClusterPostgres.start(join(directory, 'data'));
  const { url } = server;
  const logger = { info: () => undefined };
  await migratePostgres({ url, migrations: POSTGRES_MIGRATIONS, logger });
  const postgres: TestPostgres = {
    url,
    database: (schema) => {
      const pool = new Database({
        url,
        schema,
        applicationName: 'test',
        onIdleError: () => undefined,
      });
      pools.push(pool);
      return pool;
    },
    stop: async () => undefined,
  };
  auth = await startAuth({ postgres });
}, 120_000);

afterAll(async () => {
  await auth.stop();
  await Promise.all(pools.map((pool) => pool.close()));
  await server.stop();
  rmSync(directory, { recursive: true, force: true });
});

interface KeyData {
  readonly id: string;
  readonly name: string;
}

/** Asks again under the same key until the request was answered, not refused for want of a database. */
function untilAnswered(ask: () => Promise<Answer>): Promise<Answer> {
  return eventually(
    async () => {
      const answer = await ask();
      return answer.status < 500 && answer.status !== 409 ? answer : false;
    },
    { deadlineMs: 60_000 },
  );
}

describe('PostgreSQL killed under administration', () => {
  test('every key is there once and was announced; nothing answered is gone', async () => {
    const stopping = new AbortController();
    const made: KeyData[] = [];
    const administer = async (worker: number): Promise<void> => {
      for (let n = 0; !stopping.signal.aborted; n += 1) {
        const name = `key-${worker}-${n}`;
        const answer = await untilAnswered(() =>
          auth.send('POST', '/api/keys', {
            user: 'operator',
            body: { name },
            headers: { 'idempotency-key': name },
          }),
        );
        expect(answer.status).toBe(201);
        made.push(answer.body['key_data'] as KeyData);
      }
    };
    const load = Promise.all([administer(1), administer(2), administer(3)]);
    for (let kill = 1; kill <= KILLS; kill += 1) {
      const goal = made.length + PER_KILL;
      await eventually(() => made.length >= goal, { deadlineMs: 60_000 });
      await server.kill();
      await server.restart();
    }
    stopping.abort();
    await load;

    const listed = await untilAnswered(() => auth.send('GET', '/api/keys', { user: 'operator' }));
    const keys = JSON.parse(listed.text) as readonly KeyData[];
    const byName = (a: KeyData, b: KeyData): number => (a.name < b.name ? -1 : 1);
    const told = ({ id, name }: KeyData): KeyData => ({ id, name });
    expect(keys.map(told).toSorted(byName)).toEqual(made.map(told).toSorted(byName));
    await eventually(
      async () => {
        const created = (await auth.control()).filter(({ type }) => type === 'key.created.v1');
        const ids = created.map(({ data }) => String(data['key_id']).replaceAll('-', ''));
        expect(new Set(ids)).toEqual(new Set(made.map(({ id }) => id)));
      },
      { deadlineMs: 60_000 },
    );
  }, 480_000);
});
