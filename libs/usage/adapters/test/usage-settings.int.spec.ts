import { afterAll, beforeAll, expect, test } from '@jest/globals';

import type { ClickHouseSession } from '#libs/platform/clickhouse';
import { openChdbDatabase } from '#libs/testing';
import { ClickHouseUsageStore } from '#libs/usage/adapters';
import {
  SAMPLE_MONTH,
  SAMPLE_TIME_MS,
  sampleRejectionRow,
  sampleSeal,
  sampleUsageRow,
} from '#libs/usage/samples';
import { cellsOf } from '#libs/usage/core';

import {
  fromBatchSeal,
  fromRejectionRow,
  fromRollupCell,
  fromUsageRow,
} from '../src/clickhouse/usage-row.mapping.js';

const { engine, drop } = openChdbDatabase();
const store = new ClickHouseUsageStore(engine);
let session: ClickHouseSession;

beforeAll(async () => {
  await store.migrate();
  session = engine.session('write');
});
afterAll(async () => {
  await store.close();
  await session.close();
  await drop();
});

test('a table that differs from what the sink rests on is refused with every difference', async () => {
  await session.run({
    name: 'test.alter',
    sql: 'ALTER TABLE raw_usage_v1 MODIFY SETTING fsync_after_insert = 0',
  });
  await session.run({
    name: 'test.alter',
    sql: 'ALTER TABLE raw_rejection_v1 RESET SETTING non_replicated_deduplication_window',
  });
  await session.run({
    name: 'test.alter',
    sql: 'ALTER TABLE batch_seal MODIFY SETTING fsync_part_directory = 0',
  });
  await expect(store.migrate()).rejects.toMatchObject({
    code: 'usage.settings',
    details: {
      differences: [
        {
          table: 'raw_usage_v1',
          setting: 'fsync_after_insert',
          required: '1',
          actual: '0',
        },
        {
          table: 'raw_rejection_v1',
          setting: 'non_replicated_deduplication_window',
          required: '10000',
          actual: null,
        },
        { table: 'batch_seal', setting: 'fsync_part_directory', required: '1', actual: '0' },
      ],
    },
  });
});

test('every column of the ledger is written by name, none by a default', async () => {
  const written = {
    raw_usage_v1: Object.keys(fromUsageRow('b', sampleUsageRow())),
    raw_rejection_v1: Object.keys(fromRejectionRow('b', sampleRejectionRow())),
    rollup_hour: Object.keys(
      fromRollupCell('b', SAMPLE_MONTH, cellsOf([sampleUsageRow()])[0]!, 0n),
    ),
    batch_seal: Object.keys(fromBatchSeal(sampleSeal('b', [sampleUsageRow()]), SAMPLE_TIME_MS)),
  };
  for (const [table, columns] of Object.entries(written)) {
    const found = await session.rows<{ name: string }>(
      {
        name: 'test.columns',
        sql:
          'SELECT name FROM system.columns WHERE database = currentDatabase()' +
          ' AND table = {table:String} ORDER BY position',
      },
      { table },
    );
    expect(columns).toEqual(found.map((row) => row.name));
  }
});
