/**
 * Standalone is killed with SIGKILL at random points under load, 30 times, and started again each
 * time. An independent judge then compares the simulator's own log with every store.
 */
import { randomInt } from 'node:crypto';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import { delay } from '#libs/kernel';
import { eventually } from '#libs/testing';

import {
  costOf,
  pico,
  readBills,
  readControl,
  readLedger,
  type ControlState,
  type LedgerRow,
} from './harness/oracle.js';
import { Tollgate, type TestModel } from './harness/tollgate.js';

const KILLS = 30;
const CALLERS = 12;
/** Longest time from one start to the next kill, milliseconds. */
const LONGEST_LIFE_MS = 1_500;
const TEST_DEADLINE_MS = 900_000;

const QUICK: TestModel = {
  id: 'fake-in10-out20',
  inputTokens: 10,
  outputTokens: 20,
  inputUsdPerMillion: '1.5',
  outputUsdPerMillion: '2.5',
};
const SLOW: TestModel = { ...QUICK, id: 'fake-in30-out600', inputTokens: 30, outputTokens: 600 };
const MODELS = [QUICK, SLOW];

const tollgate = new Tollgate(MODELS);

beforeAll(() => tollgate.start());
afterAll(() => tollgate.destroy());

/** Bodies of every shape: quick and slow, plain and streamed. */
function bodyOf(turn: number): string {
  const isSlow = turn % 3 === 0;
  return JSON.stringify({
    model: isSlow ? SLOW.id : QUICK.id,
    messages: [{ role: 'user', content: `turn ${turn}` }],
    stream: turn % 2 === 0,
    simulator: isSlow ? { chunk_interval_ms: 2, latency_ms: 50 } : { latency_ms: 5 },
  });
}

/** Calls without end until stopped; what fails while the process is away is of no interest. */
async function call(keys: readonly string[], stop: AbortSignal): Promise<void> {
  for (let turn = randomInt(100); !stop.aborted; turn += 1) {
    try {
      const response = await fetch(`${tollgate.url}/v1/chat/completions`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${keys[turn % keys.length]}`,
          'content-type': 'application/json',
        },
        body: bodyOf(turn),
        signal: stop,
      });
      await response.arrayBuffer();
    } catch {
      await delay(50, stop);
    }
  }
}

async function killThirtyTimes(): Promise<void> {
  for (let kill = 1; kill <= KILLS; kill += 1) {
    await delay(100 + randomInt(LONGEST_LIFE_MS));
    // However slow the machine, there is work to be hurt.
    await eventually(() => tollgate.attempts() > kill * CALLERS, { deadlineMs: 60_000 });
    await tollgate.endStandalone('SIGKILL');
    await tollgate.startStandalone();
  }
}

describe('thirty kills at random points under load', () => {
  test(
    'leave one row per attempt, measured rows equal to the bill, and no budget off by a pico-dollar',
    async () => {
      await tollgate.admin('POST', '/teams', { team_id: 'crew', team_name: 'Crew' });
      const keys = [
        await tollgate.createKey({ max_budget: 1000, team_id: 'crew' }),
        await tollgate.createKey({ team_id: 'crew' }),
        await tollgate.createKey(),
      ];
      await tollgate.admin('PUT', '/api/budgets', {
        scope: 'team',
        scope_id: 'crew',
        period: 'total',
        limit_usd: '1000',
      });
      const stop = new AbortController();
      const callers = Array.from({ length: CALLERS }, () =>
        call(
          keys.map(({ key }) => key),
          stop.signal,
        ),
      );
      await killThirtyTimes();
      stop.abort();
      await Promise.all(callers);
      const keyIds = keys.map(({ id }) =>
        id.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5'),
      );
      const control = await untilQuiet(keyIds);
      expect(await tollgate.endStandalone('SIGTERM')).toBe(0);

      const rows = readLedger(tollgate.dataDir);
      const bills = readBills(tollgate.simulatorLog);
      expectRealWork(rows, bills.size);
      const byAttempt = new Map(rows.map((row) => [row.attemptId, row]));
      expect(byAttempt.size).toBe(rows.length);
      expect([...bills.keys()].filter((attemptId) => !byAttempt.has(attemptId))).toEqual([]);

      const wrong = rows.filter((row) => {
        const bill = bills.get(row.attemptId);
        if (row.provenance === 'zero_not_sent') return row.costPicoUsd !== 0n || bill !== undefined;
        if (row.provenance !== 'measured') return row.chargePicoUsd > row.holdPicoUsd;
        const model = MODELS.find(({ id }) => id === row.model)!;
        return bill?.billed == null || costOf(model, bill.billed) !== row.costPicoUsd;
      });
      expect(wrong).toEqual([]);

      expect(control.openHolds).toBe(0);
      const chargeWhere = (matches: (row: (typeof rows)[number]) => boolean): bigint =>
        rows.filter(matches).reduce((sum, row) => sum + row.chargePicoUsd, 0n);
      expect(control.accounts.get(`key/${keyIds[0]}`)).toEqual({
        settledPicoUsd: chargeWhere((row) => row.keyId === keyIds[0]),
        heldPicoUsd: 0n,
      });
      expect(control.accounts.get('team/crew')).toEqual({
        settledPicoUsd: chargeWhere((row) => row.teamId === 'crew'),
        heldPicoUsd: 0n,
      });
      for (const keyId of keyIds) {
        expect(control.eventLogChargesPicoUsd.get(keyId)).toBe(
          chargeWhere((row) => row.keyId === keyId),
        );
      }
    },
    TEST_DEADLINE_MS,
  );
});

/** A run in which the kills hit nothing would prove nothing. */
function expectRealWork(rows: readonly LedgerRow[], attempts: number): void {
  const countOf = (provenance: string): number =>
    rows.filter((row) => row.provenance === provenance).length;
  expect(attempts).toBeGreaterThan(KILLS * CALLERS);
  expect(countOf('measured')).toBeGreaterThan(KILLS);
  expect(countOf('estimated_hold') + countOf('estimated_partial')).toBeGreaterThan(KILLS);
  expect(countOf('estimated_partial')).toBeGreaterThan(0);
  expect(new Set(rows.map(({ keyId }) => keyId)).size).toBe(3);
}

/**
 * Waits until nothing is under way: every attempt the simulator saw is in the event log, the ledger has
 * the charges of the log, the budgets have settled them, and no hold is open.
 * @param keyIds those of the crew first
 * @returns what PostgreSQL holds then
 */
async function untilQuiet(keyIds: readonly string[]): Promise<ControlState> {
  return eventually(
    async () => {
      const control = await readControl(tollgate.dataDir);
      const attempts = [...readBills(tollgate.simulatorLog).keys()];
      expect(attempts.filter((id) => !control.eventLogAttempts.has(id))).toEqual([]);
      const [first, second, third] = keyIds.map(
        (keyId) => control.eventLogChargesPicoUsd.get(keyId) ?? 0n,
      ) as [bigint, bigint, bigint];
      const { body } = await tollgate.admin('GET', '/v1/usage');
      expect(pico(body.total.charge_usd)).toBe(first + second + third);
      expect(control.openHolds).toBe(0);
      expect(control.accounts.get(`key/${keyIds[0]}`)?.settledPicoUsd).toBe(first);
      expect(control.accounts.get('team/crew')?.settledPicoUsd).toBe(first + second);
      return control;
    },
    { deadlineMs: 120_000 },
  );
}
