/**
 * Metering in a process of its own over the embedded engine, for tests that kill it.
 * Arguments: database URL, data directory, and what to do: `kill:<n>` ends the process with SIGKILL
 * right after its n-th insert; `run` goes on until a failpoint ends it; `finish` consumes everything,
 * prints the ledger's sums as JSON, exits.
 */
import { partitionCount, TOPICS } from '#libs/events';
import { ClickHouseEngine } from '#libs/platform/clickhouse';
import { eventually } from '#libs/testing';
import { ClickHouseUsageStore } from '#libs/usage/adapters';

import { FaultyStore, ledgerSums, startMember, type Member } from './metering-fixture.js';
import { PARTITIONS } from './sample-events.js';

/** What the process is to do. */
export type MemberMode = 'finish' | 'run' | `kill:${number}`;

const [url = '', dataDir = '', mode = ''] = process.argv.slice(2);
const engine = new ClickHouseEngine({ target: { kind: 'embedded', dataDir }, database: 'ledger' });
const store = new FaultyStore(new ClickHouseUsageStore(engine));
const killAt = mode.startsWith('kill:') ? Number(mode.slice(5)) : Infinity;
let inserts = 0;
store.afterInsert = async () => {
  inserts += 1;
  if (inserts >= killAt) process.kill(process.pid, 'SIGKILL');
};

const member = await startMember(url, store);
if (mode === 'finish') {
  await eventually(() => isCaughtUp(member), { deadlineMs: 120_000 });
  await eventually(() => isRelayed(member), { deadlineMs: 120_000 });
  const sums = await ledgerSums(engine);
  process.stdout.write(
    JSON.stringify({ ...sums, chargePicoUsd: sums.chargePicoUsd.toString() }) + '\n',
  );
  await member.stop();
  await store.close();
  process.exit(0);
}

/** Whether the log has everything that the batches said. */
async function isRelayed({ database }: Member): Promise<boolean> {
  const { rowCount } = await database.query(
    'SELECT 1 FROM outbox_lane WHERE next_seq > sent_seq + 1',
  );
  return rowCount === 0;
}

async function isCaughtUp({ database, eventLog }: Member): Promise<boolean> {
  const { rows } = await database.query<{ partition: number; next_offset: bigint }>(
    'SELECT partition, next_offset FROM log_position WHERE topic = $1',
    [TOPICS.requestCompleted],
  );
  if (rows.length < partitionCount(TOPICS.requestCompleted, PARTITIONS)) return false;
  for (const { partition, next_offset: nextOffset } of rows) {
    const bounds = await eventLog.bounds(TOPICS.requestCompleted, partition);
    if (bounds.next > nextOffset) return false;
  }
  return true;
}
