/**
 * Guarantee: a proxy whose services are away lives, tells that it is not ready, admits nothing, and
 * ends by a signal as an orchestrator expects.
 * Method: a process of its own with PostgreSQL and without auth and budgets.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { afterAll, beforeAll, expect, test } from '@jest/globals';

import { productTopics, provisionTopics } from '#libs/event-log/adapters';
import { eventually, startTestPostgres, type TestPostgres } from '#libs/testing';
import { POSTGRES_MIGRATIONS } from '#migrations';

import { PARTITIONS, PEPPERS_TEXT } from './proxy-world.js';

const MAIN = fileURLToPath(new URL('../src/main.js', import.meta.url));

let postgres: TestPostgres;
let directory: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'tollgate-test-'));
  postgres = await startTestPostgres({ migrations: POSTGRES_MIGRATIONS });
  await provisionTopics(postgres.url, productTopics(PARTITIONS));
});

afterAll(async () => {
  await postgres.stop();
  rmSync(directory, { recursive: true, force: true });
});

test('it listens, is not ready, answers 503 to a call, and SIGTERM ends it with 0', async () => {
  const away = 'http://127.0.0.1:1';
  const child = spawn(process.execPath, [MAIN], {
    env: {
      NODE_ENV: 'test',
      LOG_LEVEL: 'info',
      DATABASE_URL: postgres.url,
      LOG_PARTITIONS: String(PARTITIONS),
      SERVICE_SECRET: 'a-secret-of-the-test-services',
      KEY_PEPPERS: PEPPERS_TEXT,
      AUTH_URL: away,
      BUDGET_URL: away,
      SPOOL_DIR: join(directory, 'spool'),
      HOST: '127.0.0.1',
      PORT: '0',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let printed = '';
  child.stdout.on('data', (chunk: Buffer) => (printed += chunk.toString()));
  let log = '';
  child.stderr.on('data', (chunk: Buffer) => (log += chunk.toString()));
  const ended = once(child, 'close');
  // It says that it listens when it does its work; where, the server's own log tells before.
  const url = await eventually(() => /Server listening at (http[^"]+)"/.exec(log)?.[1] ?? false, {
    deadlineMs: 120_000,
  });
  expect((await fetch(`${url}/health/live`)).status).toBe(200);
  expect((await fetch(`${url}/health/ready`)).status).toBe(503);
  const call = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: 'Bearer sk-any' },
    body: JSON.stringify({ model: 'any', messages: [{ role: 'user', content: 'hi' }] }),
  });
  expect(call.status).toBe(503);
  child.kill('SIGTERM');
  expect(await ended).toEqual([0, null]);
  expect(printed).not.toContain('listening');
});
