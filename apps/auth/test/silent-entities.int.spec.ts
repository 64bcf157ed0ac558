/**
 * Guarantee: auth is not ready while the connections of its entities get no answer, also when its
 * other connections do, and is ready again once they do.
 * Method: auth on a real PostgreSQL; only the entities' connections lead through a proxy that takes
 * bytes and passes none on.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';

import { eventually, startTestPostgres, TcpFaultProxy, type TestPostgres } from '#libs/testing';
import { POSTGRES_MIGRATIONS } from '#migrations';

import { startAuth, type AuthFixture } from './auth-fixture.js';

let postgres: TestPostgres;
let proxy: TcpFaultProxy;
let auth: AuthFixture;

beforeAll(async () => {
  postgres = await startTestPostgres({ migrations: POSTGRES_MIGRATIONS });
  proxy = await TcpFaultProxy.open({ targetPort: Number(new URL(postgres.url).port) });
  auth = await startAuth({
    postgres,
    entitiesUrl: (direct) => {
      const url = new URL(direct);
      [url.hostname, url.port] = ['127.0.0.1', String(proxy.port)];
      return url.toString();
    },
  });
});

afterAll(async () => {
  await auth.stop();
  await proxy.close();
  await postgres.stop();
});

test('readiness follows the connections of the entities too', async () => {
  const outcome = async (): Promise<string | undefined> =>
    (await auth.runtime.health.readiness()).checks['auth.database'];
  await eventually(async () => (await outcome()) === 'ok');
  proxy.set({ kind: 'hang' });
  expect(await outcome()).toBe('no answer in time');
  proxy.set({ kind: 'none' });
  await eventually(async () => (await outcome()) === 'ok');
});
