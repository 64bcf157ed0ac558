/**
 * Guarantee: whatever moment the sink, its connection or ClickHouse ends at, every record of the topic
 * is one row, sums are equal, and the budgets are told once.
 * Method: a few hits of each fault by a sink worker of its own process; `npm run sink-faults` does
 * hundreds.
 */
import { expect, test } from '@jest/globals';

import { SystemClock } from '#libs/kernel';
import { eventually } from '#libs/testing';

import { generatorOf } from '../bench/statistics.js';
import { PARTITIONS, startFaultEngines } from './fault-engines.js';
import { FaultRun, type FaultRunOptions, type FaultRunSummary } from './fault-run.js';
import { isFaultless, LedgerCheck, PostgresTopic } from './ledger-check.js';
import { UsageRecords } from './usage-records.js';
import { WorkerHandle } from './worker-handle.js';

const TIMEOUT_MS = 600_000;

function strike(options: Partial<FaultRunOptions> & Pick<FaultRunOptions, 'fault'>) {
  return FaultRun.run({
    hits: 3,
    log: 'postgres',
    store: 'server',
    rows: 500,
    random: generatorOf(7),
    ...options,
  });
}

function expectWhole(summary: FaultRunSummary, hits: number): void {
  expect(summary).toMatchObject({ hits, faultyHits: 0 });
  expect(summary.records).toBeGreaterThan(0);
}

test(
  'killed between the insert and the commit, every row is there once (D4)',
  async () => expectWhole(await strike({ fault: 'D4', hits: 4 }), 4),
  TIMEOUT_MS,
);

test(
  'ClickHouse killed during an insert: every row is there once (D11)',
  async () => expectWhole(await strike({ fault: 'D11', rows: 2_000 }), 3),
  TIMEOUT_MS,
);

test(
  'a token that ClickHouse knows without its rows does not swallow the batch (D11, crash window)',
  async () => {
    const summary = await strike({ fault: 'D11', hits: 2, inCrashWindow: true });
    expectWhole(summary, 2);
    expect(summary.crashWindows).toBeGreaterThanOrEqual(2);
  },
  TIMEOUT_MS,
);

test(
  'killed with the engine inside it: every row is there once (D11 of standalone)',
  async () => expectWhole(await strike({ fault: 'D11', hits: 2, store: 'embedded' }), 2),
  TIMEOUT_MS,
);

test(
  'a connection cut inside the body leaves no row missing and none twice (D3)',
  async () => expectWhole(await strike({ fault: 'D3' }), 3),
  TIMEOUT_MS,
);

test(
  'killed after ClickHouse forgot the token, every row is there once (D14)',
  async () => expectWhole(await strike({ fault: 'D14', hits: 2 }), 2),
  TIMEOUT_MS,
);

test(
  'the judge sees a row that is missing and a row that is there twice',
  async () => {
    const engines = await startFaultEngines({ log: 'postgres', store: 'server' });
    const ask = engines.ask!;
    const table = 'ledger.raw_usage_v1';
    const check = new LedgerCheck(
      engines.databaseUrl,
      new PostgresTopic(engines.databaseUrl),
      ask,
      table,
    );
    const worker = new WorkerHandle(engines.worker);
    try {
      const clock = new SystemClock();
      const records = new UsageRecords({ partitions: PARTITIONS, keysPerPartition: 2, clock });
      await engines.eventLog.append(records.next(0, 10));
      await worker.go();
      await eventually(async () => isFaultless(await check.judge()), { deadlineMs: 60_000 });
      const one = `SELECT min(toString(event_id)) FROM ${table}`;
      await ask(`INSERT INTO ${table} SELECT * FROM ${table} WHERE toString(event_id) = (${one})`);
      expect(await check.judge()).toMatchObject({ lost: 0, doubled: 1, plans: 0, rated: 0 });
      await ask(
        `ALTER TABLE ${table} DELETE WHERE toString(event_id) = (${one}) SETTINGS mutations_sync = 2`,
      );
      const faults = await check.judge();
      expect(faults).toMatchObject({ lost: 1, doubled: 0, plans: 0, rated: 0 });
      expect(faults.imbalancePusd).toBeLessThan(0n);
    } finally {
      await worker.kill();
      await check.close();
      await engines.stop();
    }
  },
  TIMEOUT_MS,
);
