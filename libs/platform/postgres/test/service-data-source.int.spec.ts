/**
 * Guarantee: the connections of a service's entities are bounded and act like those of `Database`: a
 * server that falls silent fails what waits and is asked again on a fresh connection, and no URL sets
 * the role aside. Column values keep the driver's own form, which the entities' transformers expect.
 * Method: the module on a real PostgreSQL, behind a proxy that stops passing bytes on.
 */
import 'reflect-metadata';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

import { SystemClock, SystemRandom } from '#libs/kernel';
import {
  EmbeddedPostgres,
  migratePostgres,
  ServiceDataSource,
  ServiceDataSourceModule,
  type ServiceDataSourceOptions,
} from '#libs/platform/postgres';

import { openSilentProxy } from './silent-proxy.js';

const opened: INestApplicationContext[] = [];
let directory: string;
let server: EmbeddedPostgres;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'tollgate-pg-'));
  chmodSync(directory, 0o711);
  const [clock, random] = [new SystemClock(), new SystemRandom()];
  server = await EmbeddedPostgres.start({ dataDir: directory, clock, random, isDurable: false });
  await migratePostgres({ url: server.url, migrations: {}, logger: { info: () => undefined } });
});
afterAll(async () => {
  await Promise.all(opened.map((app) => app.close()));
  await server.stop();
  rmSync(directory, { recursive: true });
});

async function open(
  options: Pick<ServiceDataSourceOptions, 'url'> & Partial<ServiceDataSourceOptions>,
): Promise<ServiceDataSource> {
  const module = ServiceDataSourceModule.register({ schema: 'auth', entities: [], ...options });
  const app = await NestFactory.createApplicationContext(module, { logger: false });
  opened.push(app);
  return app.get(ServiceDataSource);
}

test('a server that falls silent fails what waits; what comes next gets a fresh connection', async () => {
  const proxy = await openSilentProxy(server.url);
  // One connection: what comes next would get the silent one, if that went back to the pool.
  const source = await open({ url: proxy.url, maxConnections: 1, statementTimeoutMs: 1_000 });
  const one = (): Promise<unknown> => source.manager.query('SELECT 1 AS one');
  expect(await one()).toEqual([{ one: 1 }]);
  proxy.silence();
  await expect(one()).rejects.toThrow('timeout');
  expect(await one()).toEqual([{ one: 1 }]);
  const work = source.transaction(async (tx) => {
    await tx.query('SELECT 1');
    proxy.silence();
    await tx.query('SELECT 1');
  });
  await expect(work).rejects.toThrow('timeout');
  expect(await one()).toEqual([{ one: 1 }]);
  await opened.pop()!.close();
  await proxy.close();
});

test('a statement that the server refuses costs no connection', async () => {
  const source = await open({ url: server.url, maxConnections: 1 });
  const pid = (): Promise<unknown> => source.manager.query('SELECT pg_backend_pid() AS pid');
  const before = await pid();
  await expect(source.manager.query('SELECT nonsense')).rejects.toMatchObject({ code: '42703' });
  expect(await pid()).toEqual(before);
});

test('parameters of the URL do not set the role aside', async () => {
  const url = `${server.url}?options=${encodeURIComponent('-c role=tollgate -c geqo_seed=0.5')}`;
  const source = await open({ url });
  const [row] = await source.manager.query(
    "SELECT current_user AS name, current_setting('geqo_seed') AS kept",
  );
  expect(row).toEqual({ name: 'tollgate_auth', kept: '0.5' });
});

test('connections have the bounds of `Database`, values the form of the driver', async () => {
  const source = await open({ url: server.url });
  const rows: { readonly name: string; readonly setting: string }[] = await source.manager.query(
    `SELECT name, setting FROM pg_settings WHERE name = ANY($1)`,
    [['statement_timeout', 'lock_timeout', 'tcp_keepalives_idle', 'application_name']],
  );
  expect(Object.fromEntries(rows.map(({ name, setting }) => [name, setting]))).toEqual({
    statement_timeout: '30000',
    lock_timeout: '10000',
    tcp_keepalives_idle: '10',
    application_name: 'tollgate-auth',
  });
  expect(await source.manager.query("SELECT 1::bigint AS big, '2026-11-20'::date AS day")).toEqual([
    { big: '1', day: expect.any(Date) },
  ]);
});
