import { randomUUID } from 'node:crypto';

import { ClickHouseEngine } from '#libs/platform/clickhouse';
import { startTestClickHouse } from '#libs/testing';
import { usageReaderContract, usageStoreContract } from '#libs/usage/contract';

import { openUsageHarness } from './usage-engine-harness.js';

// The path of a ClickHouse server: HTTP, one request a statement, nothing kept between requests. The
// server is that of CLICKHOUSE_URL, else the stand-in over the embedded engine, in its own process.

const open = async () => {
  const server = await startTestClickHouse();
  const database = `test_${randomUUID().slice(0, 8)}`;
  const engine = new ClickHouseEngine({ target: { kind: 'server', url: server.url }, database });
  return openUsageHarness(engine, async () => {
    const session = engine.session('write');
    await session.run({ name: 'test.drop_database', sql: `DROP DATABASE ${database} SYNC` });
    await session.close();
    await server.stop();
  });
};

usageStoreContract('server', open);
usageReaderContract('server', open);
