import { readdirSync, readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';

import { delay } from '#libs/kernel';
import { eventually } from '#libs/testing';

import { SACRIFICED_PARTITION } from '../harness/installation.js';
import { dropBelow, positionOf, sql, withLog } from '../harness/probes.js';
import type { FaultCase, FaultContext, Injected } from './fault-case.js';
import { outside } from './outside.js';

const COMPLETED = 'request.completed';
/** @source Apache Kafka documentation, "Record Batch": base offset, then the length of the rest */
const BATCH_PREFIX_BYTES = 12;
const OFFSET_DELTA_AT = 23;
const NO_DISK = { hits: 0, skipped: 'no disk can be mounted here' };

/** Full disks of the engines, and a log that loses its tail. */
export const STORE_FAULTS: readonly FaultCase[] = [
  outside({
    id: 'C4',
    variant: 'the disk of the broker full',
    isSlow: true,
    guarantee: 'requests go on, every record arrives once',
    work: fillBroker,
  }),
  outside({
    id: 'D12',
    variant: 'the disk of ClickHouse full',
    guarantee: 'the lag grows, offsets stand, every row arrives once',
    work: fillClickHouse,
  }),
  outside({
    id: 'C5',
    variant: 'the tail of a partition gone',
    isSlow: true,
    guarantee: 'the loss is seen with the next record and repaired from the spool',
    work: loseTail,
  }),
  outside({
    id: 'C6',
    variant: 'retention passed unread records',
    isSlow: true,
    guarantee:
      'the partition stops until an operator lets it go on; the emitters send the rest again',
    work: expireUnread,
  }),
];

async function fillBroker({ installation, load, struck }: FaultContext): Promise<Injected> {
  const { kafka, disks } = installation.cluster.engines;
  if (disks?.kafka.canBeFilled !== true) return NO_DISK;
  try {
    disks.kafka.fill();
    await load.untilAnswered(40);
    // A broker whose only folder fails ends by itself or serves errors: either way it starts anew.
    await kafka.brokers[0]!.kill();
  } finally {
    disks.kafka.empty();
  }
  struck();
  await kafka.brokers[0]!.start();
  return { hits: 1 };
}

async function fillClickHouse({ installation, load, struck }: FaultContext): Promise<Injected> {
  const { disks } = installation.cluster.engines;
  if (disks?.clickhouse.canBeFilled !== true) return NO_DISK;
  try {
    disks.clickhouse.fill();
    await load.untilAnswered(30);
  } finally {
    disks.clickhouse.empty();
  }
  struck();
  return { hits: 1 };
}

/** Takes the newest batch of a partition that metering has not read, while the broker is dead. */
async function loseTail({ installation, load, struck }: FaultContext): Promise<Injected> {
  const [broker] = installation.cluster.engines.kafka.brokers;
  await installation.process('metering').end('SIGTERM');
  await load.untilAnswered(40);
  await delay(300);
  await broker!.kill();
  let lost = 0;
  for (let partition = 0; partition < SACRIFICED_PARTITION && lost === 0; partition += 1) {
    const next = await positionOf(installation, COMPLETED, partition);
    lost = cutLastBatch(segmentOf(installation.cluster.engines.disks!.kafka.path, partition), next);
  }
  struck();
  await broker!.start();
  await installation.start('metering');
  await load.untilAnswered(60);
  return { hits: lost };
}

/** Drops everything of a partition that metering has not read, and then does what its operator does. */
async function expireUnread({ installation, load, struck }: FaultContext): Promise<Injected> {
  await eventually(async () => (await furthest(installation)) > 0n, { deadlineMs: 60_000 });
  await installation.process('metering').end('SIGKILL');
  const unread = await eventually(() => unreadOf(installation), { deadlineMs: 60_000 });
  await dropBelow(installation, COMPLETED, unread.partition, unread.next);
  await installation.start('metering');
  const moved = `UPDATE metering.log_position SET next_offset = ${unread.next}
    WHERE topic = '${COMPLETED}' AND partition = ${unread.partition}
      AND next_offset = ${unread.position}`;
  await load.untilAnswered(20);
  // It stands where it stood: a partition never jumps by itself.
  const stood = await sql(installation, moved);
  struck();
  await load.untilAnswered(20);
  return { hits: stood === 1 ? Number(unread.next - unread.position) : 0 };
}

/** The furthest position of metering in any partition. */
async function furthest(installation: FaultContext['installation']): Promise<bigint> {
  let most = 0n;
  for (let partition = 0; partition < SACRIFICED_PARTITION; partition += 1) {
    const position = await positionOf(installation, COMPLETED, partition);
    if (position > most) most = position;
  }
  return most;
}

/** A partition with records that metering has not read. @throws Error when there is none yet */
async function unreadOf(installation: FaultContext['installation']) {
  return withLog(installation, async (log) => {
    for (let partition = 0; partition < SACRIFICED_PARTITION; partition += 1) {
      const { next } = await log.bounds(COMPLETED, partition);
      const position = await positionOf(installation, COMPLETED, partition);
      if (position > 0n && next > position) return { partition, next, position };
    }
    throw new Error('everything is read');
  });
}

function segmentOf(disk: string, partition: number): string {
  const [engine] = readdirSync(disk).filter((name) => name.startsWith('tollgate-test-kafka-'));
  const folder = join(disk, engine ?? '', 'data-1', `${COMPLETED}-${partition}`);
  const [newest] = readdirSync(folder)
    .filter((name) => name.endsWith('.log'))
    .toSorted()
    .toReversed();
  return join(folder, newest!);
}

/** @returns how many records went; 0 when the last batch begins below the offset */
function cutLastBatch(file: string, fromOffset: bigint): number {
  const bytes = readFileSync(file);
  let last = -1;
  for (let at = 0; at + BATCH_PREFIX_BYTES < bytes.length;) {
    const length = bytes.readInt32BE(at + 8);
    if (length <= 0) break;
    last = at;
    at += BATCH_PREFIX_BYTES + length;
  }
  if (last < 0 || bytes.readBigInt64BE(last) < fromOffset) return 0;
  truncateSync(file, last);
  return bytes.readInt32BE(last + OFFSET_DELTA_AT) + 1;
}
