import { delay } from '#libs/kernel';
import { eventually } from '#libs/testing';

import { LOG_PARTITIONS, SACRIFICED_PARTITION } from '../harness/installation.js';
import { clickhouse, copyOf, newest, positionOf, sql, withLog } from '../harness/probes.js';
import type { FaultCase, FaultContext, Injected } from './fault-case.js';
import { outside } from './outside.js';

/** Longer than the session of a group, milliseconds. */
const BEYOND_SESSION_MS = 3_000;
const COMPLETED = 'request.completed';

/** What happens to metering other than by a kill at a failpoint. */
export const METERING_FAULTS: readonly FaultCase[] = [
  outside({
    id: 'D6',
    variant: 'frozen beyond its session, thawed after another took over',
    guarantee: 'the late writes of the old owner change nothing',
    work: freezeBeyondSession,
  }),
  outside({
    id: 'D7',
    variant: 'another member joins, leaves and dies',
    isSlow: true,
    guarantee: 'no loss, no double, no standstill',
    work: joinAndLeave,
  }),
  outside({
    id: 'D8',
    variant: 'poison messages',
    guarantee: 'the partition moves on; payload and error are kept',
    work: poison,
  }),
  outside({
    id: 'D9',
    variant: 'a record of a newer major version',
    guarantee: 'that partition stops, the others go on',
    work: newerVersion,
  }),
  outside({
    id: 'D13',
    variant: 'replay from offset zero',
    guarantee: 'nothing changes anywhere',
    work: replay,
  }),
  outside({
    id: 'D16',
    variant: 'price copies gone while auth is silent',
    isSlow: true,
    guarantee: 'the partition waits and then rates; never at zero',
    allows5xx: ['service_unavailable', 'budget_unavailable'],
    work: forgetPrices,
  }),
  {
    id: 'D14',
    variant: 'deduplication window of one insert',
    guarantee: 'an insert in doubt is verified, each row once',
    failpoint: 'sink.after_insert',
    isSlow: true,
    allows5xx: [],
    profile: 'mixed',
    arming: (random) => ({
      service: 'metering',
      failpoints: `sink.after_insert=throw@${random.integer(1, 4)}`,
    }),
    inject: tinyWindow,
  },
  outside({
    id: 'C8',
    variant: 'late copies of whole batches',
    guarantee: 'copies below the watermark are dropped',
    work: repeatRecords,
  }),
];

async function freezeBeyondSession({ installation, load, struck }: FaultContext): Promise<void> {
  const { cluster } = installation;
  const frozen = cluster.service('metering');
  const other = cluster.spareMetering();
  frozen.freeze();
  try {
    await other.start();
    await delay(BEYOND_SESSION_MS);
    await load.untilAnswered(10);
  } finally {
    frozen.thaw();
  }
  await delay(500);
  struck();
  await other.end('SIGTERM');
}

async function joinAndLeave({ installation, struck }: FaultContext): Promise<void> {
  const other = installation.cluster.spareMetering();
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    await other.start();
    await delay(300);
    await other.end(signal);
  }
  struck();
}

async function poison({ installation, random, struck }: FaultContext): Promise<Injected> {
  const before = await sql(installation, 'SELECT 1 FROM metering.dead_letter');
  const bodies = ['', '{', 'null', '{"event_id": 7}', '\u0000'.repeat(50)];
  const records = Array.from({ length: 4 }, () => ({
    topic: COMPLETED,
    partition: random.integer(0, SACRIFICED_PARTITION - 1),
    key: 'poison',
    headers: { ce_type: 'request.completed.v1' },
    value: Buffer.from(random.one(bodies)),
  }));
  await withLog(installation, (log) => log.append(records));
  struck();
  // An append that was not answered is made again: some may be there twice.
  const letters = async (): Promise<boolean> =>
    (await sql(installation, 'SELECT 1 FROM metering.dead_letter')) - before >= records.length;
  await eventually(letters, { deadlineMs: 60_000 });
  return { hits: records.length };
}

async function newerVersion({ installation, load, struck }: FaultContext): Promise<void> {
  const record = {
    topic: COMPLETED,
    partition: SACRIFICED_PARTITION,
    key: 'newer',
    headers: { ce_type: 'request.completed.v99' },
    value: Buffer.from('{}'),
  };
  await withLog(installation, (log) => log.append([record]));
  struck();
  await load.untilAnswered(20);
}

async function replay({ installation, random, struck }: FaultContext): Promise<Injected> {
  const read = await eventually(() => partitionsRead(installation), { deadlineMs: 60_000 });
  await installation.process('metering').end('SIGKILL');
  const partition = random.one(read);
  const moved = await sql(
    installation,
    `UPDATE metering.log_position SET next_offset = 0
     WHERE topic = '${COMPLETED}' AND partition = ${partition} AND next_offset > 0`,
  );
  struck();
  await installation.start('metering');
  return { hits: moved };
}

/** Partitions of which metering has read something. @throws Error when there is none yet */
async function partitionsRead(
  installation: FaultContext['installation'],
): Promise<readonly number[]> {
  const read: number[] = [];
  for (let partition = 0; partition < SACRIFICED_PARTITION; partition += 1) {
    if ((await positionOf(installation, COMPLETED, partition)) > 0n) read.push(partition);
  }
  if (read.length === 0) throw new Error('nothing is read');
  return read;
}

async function forgetPrices({ installation, load, struck }: FaultContext): Promise<Injected> {
  await installation.process('metering').end('SIGKILL');
  const gone = await sql(installation, 'DELETE FROM metering.price_entry');
  const auth = installation.process('auth');
  auth.freeze();
  try {
    installation.process('metering').spawn();
    await delay(1_500);
  } finally {
    auth.thaw();
  }
  struck();
  await installation.process('metering').untilReady();
  await load.untilAnswered(5);
  return { hits: gone };
}

async function tinyWindow({ installation, struck }: FaultContext): Promise<Injected> {
  const setWindow = (inserts: number): Promise<string> =>
    clickhouse(
      installation,
      `ALTER TABLE raw_usage_v1 MODIFY SETTING non_replicated_deduplication_window = ${inserts}`,
    );
  await setWindow(1);
  try {
    await eventually(() => installation.hasHit('metering', 'sink.after_insert'), {
      deadlineMs: 60_000,
    });
    await delay(500);
  } finally {
    await setWindow(10_000);
  }
  struck();
  return { hits: 1 };
}

async function repeatRecords({ installation, struck }: FaultContext): Promise<Injected> {
  const repeated = await withLog(installation, async (log) => {
    let count = 0;
    for (let partition = 0; partition < LOG_PARTITIONS - 1; partition += 1) {
      const records = await newest(log, COMPLETED, partition, 40);
      const copies = records.filter(({ headers }) => 'ce_sequence' in headers).map(copyOf);
      if (copies.length > 0) await log.append(copies);
      count += copies.length;
    }
    return count;
  });
  struck();
  return { hits: repeated };
}
