import { randomUUID } from 'node:crypto';

import { ClickHouseEngine } from '#libs/platform/clickhouse';
import { openChdbHttpFront } from '#libs/testing';
import { usageReaderContract, usageStoreContract } from '#libs/usage/contract';

import { openUsageHarness } from './usage-engine-harness.js';

// The path of a ClickHouse server: HTTP, one request a statement, nothing kept between requests.

const open = async () => {
  const front = await openChdbHttpFront();
  const database = `test_${randomUUID().slice(0, 8)}`;
  const engine = new ClickHouseEngine({ target: { kind: 'server', url: front.url }, database });
  return openUsageHarness(engine, async () => {
    const session = engine.session('write');
    await session.run({ name: 'test.drop_database', sql: `DROP DATABASE ${database} SYNC` });
    await session.close();
    await front.close();
  });
};

usageStoreContract('server', open);
usageReaderContract('server', open);
