import { readdirSync, readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';

import { delay } from '#libs/kernel';

import { SACRIFICED_PARTITION } from '../harness/installation.js';
import { positionOf } from '../harness/probes.js';
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
  await installation.process('metering').end('SIGKILL');
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
