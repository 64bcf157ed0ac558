/**
 * Guarantee: metering killed at any step of a batch writes each row once.
 * Method: a process of its own over the embedded engine ends itself with SIGKILL, right after an
 * insert or at a failpoint, several times; the next process finishes what it left, the last one
 * prints the sums.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

import { afterAll, beforeAll, expect, test } from '@jest/globals';

import { PostgresEventLog } from '#libs/event-log/adapters';
import { SystemClock, SystemRandom } from '#libs/kernel';
import { processEnvironment } from '#libs/platform/config';
import type { TestPostgres } from '#libs/testing';

import type { MemberMode } from './member.process.js';
import { ratedMessages, startMeteringPostgres } from './metering-fixture.js';
import { completed, keyInPartition, SampleEmitter } from './sample-events.js';

const PROGRAM = fileURLToPath(new URL('member.process.js', import.meta.url));
const CHARGE = 2_000_000_000n;
const clock = new SystemClock();

let postgres: TestPostgres;
let dataDir: string;

beforeAll(async () => {
  postgres = await startMeteringPostgres();
  dataDir = mkdtempSync(join(tmpdir(), 'tollgate-test-killed-'));
});

afterAll(async () => {
  await postgres.stop();
  rmSync(dataDir, { recursive: true, force: true });
});

async function runMember(
  mode: MemberMode,
  failpoints = '',
): Promise<{ readonly signal: string | null; readonly output: string }> {
  const child = spawn(
    process.execPath,
    ['--enable-source-maps', PROGRAM, postgres.url, dataDir, mode],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...processEnvironment(), NODE_ENV: 'test', FAILPOINTS: failpoints },
    },
  );
  const [output, [, signal]] = await Promise.all([
    text(child.stdout),
    once(child, 'exit') as Promise<[number | null, string | null]>,
  ]);
  return { signal, output };
}

/** Everything that was appended so far. */
let number = 0;
const emitter = new SampleEmitter();

async function append(log: PostgresEventLog): Promise<void> {
  const records = Array.from({ length: 30 }, () => {
    number += 1;
    const key = keyInPartition(number % 3);
    return emitter.completed(completed(number, { key_id: key }, clock.nowMs()));
  });
  await log.append(records);
}

test('killed right after an insert, again and again, every row is there once', async () => {
  const database = postgres.database('metering');
  const log = new PostgresEventLog({ database, clock, random: new SystemRandom() });
  for (const insert of [1, 2, 1, 3]) {
    await append(log);
    const killed = await runMember(`kill:${insert}`);
    expect(killed.signal).toBe('SIGKILL');
    const prepared = await database.query(`SELECT FROM sink_plan WHERE state = 'PREPARED'`);
    expect(prepared.rowCount).toBeGreaterThanOrEqual(1);
  }
  const { output } = await runMember('finish');
  expect(JSON.parse(output)).toEqual({
    rows: number,
    events: number,
    chargePicoUsd: (BigInt(number) * CHARGE).toString(),
  });
  const plans = await database.query<{ rows: bigint; open: bigint }>(
    `SELECT sum(row_count)::bigint AS rows, count(*) FILTER (WHERE state = 'PREPARED') AS open
     FROM sink_plan`,
  );
  expect(plans.rows).toEqual([{ rows: BigInt(number), open: 0n }]);
  const told = (await ratedMessages(log))
    .flatMap(({ subjects }) => subjects)
    .filter(({ scope }) => scope === 'key')
    .reduce((sum, { charge_pusd: charge }) => sum + BigInt(charge), 0n);
  expect(told).toBe(BigInt(number) * CHARGE);
  await log.close();
});

test('killed at each step of a batch, every row is there once', async () => {
  const database = postgres.database('metering');
  const log = new PostgresEventLog({ database, clock, random: new SystemRandom() });
  for (const name of [
    'sink.after_read',
    'sink.after_plan',
    'sink.mid_insert',
    'sink.after_insert',
    'sink.before_commit',
    'sink.after_commit',
  ]) {
    await append(log);
    const killed = await runMember('run', `${name}=kill9@2`);
    expect([name, killed.signal]).toEqual([name, 'SIGKILL']);
  }
  const { output } = await runMember('finish');
  expect(JSON.parse(output)).toEqual({
    rows: number,
    events: number,
    chargePicoUsd: (BigInt(number) * CHARGE).toString(),
  });
  await log.close();
});
