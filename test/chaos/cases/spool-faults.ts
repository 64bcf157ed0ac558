import {
  appendFileSync,
  existsSync,
  openSync,
  closeSync,
  readFileSync,
  statSync,
  truncateSync,
  writeSync,
  readSync,
} from 'node:fs';
import { join } from 'node:path';

import { delay } from '#libs/kernel';
import { eventually } from '#libs/testing';

import type { FaultCase, FaultContext, Injected } from './fault-case.js';
import { outside } from './outside.js';

/** @source sqlite.org/fileformat2.html, "The Write-Ahead Log" */
const WAL_HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
const PAGE_SIZE_AT = 8;

/** How long requests meet slow commits, milliseconds. */
const SLOW_COMMITS_MS = 2_000;
/** Kills until there is a log file to change: it is empty for a moment when it begins anew. */
const MOST_KILLS = 5;

/** What a proxy answers before its recovery is done. */
const STARTING = ['service_unavailable'];

/** Faults of the spool's disk and file. */
export const SPOOL_FAULTS: readonly FaultCase[] = [
  outside({
    id: 'A10',
    variant: 'a torn transaction at the end of the log file',
    guarantee: 'all earlier transactions are kept, the torn one is dropped',
    allows5xx: STARTING,
    work: (context) => tamper(context, tearTail),
  }),
  outside({
    id: 'A13',
    variant: 'everything behind the last synced commit gone',
    guarantee: 'every acknowledged record survives',
    allows5xx: STARTING,
    work: (context) => tamper(context, cutBehindLastCommit),
  }),
  outside({
    id: 'A14',
    variant: 'one bit of the file flipped',
    guarantee: 'what is damaged is reported, the rest is kept under the same numbers',
    allows5xx: STARTING,
    work: flipBit,
  }),
  outside({
    id: 'A15',
    variant: 'a second proxy on the same spool',
    guarantee: 'it ends with exit code 3 and the first goes on',
    work: secondProxy,
  }),
  outside({
    id: 'A11',
    variant: 'the disk of the spool full',
    guarantee: 'refused before the upstream is called; what is under way is kept',
    allows5xx: ['metering_unavailable', 'service_unavailable'],
    work: fillDisk,
  }),
  {
    id: 'A16',
    variant: 'slow commits',
    guarantee: 'latency only',
    failpoint: 'spool.commit',
    allows5xx: ['metering_unavailable', 'service_unavailable'],
    profile: 'mixed',
    arming: () => ({ service: 'proxy', failpoints: 'spool.commit=delay:500@30' }),
    inject: async ({ installation, load, struck }) => {
      const isHit = (): boolean => installation.hasHit('proxy', 'spool.commit');
      await eventually(isHit, { deadlineMs: 60_000 });
      await delay(SLOW_COMMITS_MS);
      struck();
      await load.stop();
      await installation.restart('proxy');
      return { hits: 1 };
    },
  },
];

function spoolFile({ installation }: FaultContext, suffix = ''): string {
  return join(installation.cluster.directory, 'spool-proxy', `spool.db${suffix}`);
}

/** Kills the proxy, changes its files, starts it again. */
async function tamper(
  context: FaultContext,
  change: (context: FaultContext) => boolean,
): Promise<Injected> {
  const { installation, load, struck } = context;
  let isChanged = false;
  for (let kills = 0; kills < MOST_KILLS && !isChanged; kills += 1) {
    if (kills > 0) await load.untilAnswered(10);
    await installation.process('proxy').end('SIGKILL');
    isChanged = change(context);
    struck();
    await installation.start('proxy');
  }
  return { hits: isChanged ? 1 : 0 };
}

/** Appends the beginning of a transaction that was never committed. */
function tearTail(context: FaultContext): boolean {
  const wal = spoolFile(context, '-wal');
  if (!existsSync(wal) || statSync(wal).size <= WAL_HEADER_BYTES) return false;
  const bytes = readFileSync(wal);
  const length = context.random.integer(1, FRAME_HEADER_BYTES + 2_000);
  const torn = Buffer.from(bytes.subarray(WAL_HEADER_BYTES, WAL_HEADER_BYTES + length));
  torn[torn.length - 1]! ^= 0xff;
  appendFileSync(wal, torn);
  return true;
}

/** A power loss after the last sync takes what was written behind it. */
function cutBehindLastCommit(context: FaultContext): boolean {
  const wal = spoolFile(context, '-wal');
  if (!existsSync(wal) || statSync(wal).size <= WAL_HEADER_BYTES) return false;
  const bytes = readFileSync(wal);
  const frame = FRAME_HEADER_BYTES + bytes.readUInt32BE(PAGE_SIZE_AT);
  const salt = bytes.subarray(16, 24);
  let end = WAL_HEADER_BYTES;
  for (let at = end; at + frame <= bytes.length; at += frame) {
    const isOfThisLog = bytes.subarray(at + 8, at + 16).equals(salt);
    // A frame that commits says how large the database is after it.
    if (isOfThisLog && bytes.readUInt32BE(at + 4) !== 0) end = at + frame;
  }
  truncateSync(wal, context.random.integer(end, bytes.length));
  return true;
}

async function flipBit(context: FaultContext): Promise<Injected> {
  const { installation, load, random, struck } = context;
  // What was published cannot be lost any more: only then must nothing be missing afterwards.
  await load.stop();
  const { atMs, verdict } = await installation.untilQuiet(0, 120_000);
  if (atMs === null) throw new Error(`it did not come to rest: ${verdict.waiting.join(', ')}`);
  await installation.process('proxy').end('SIGTERM');
  const file = openSync(spoolFile(context), 'r+');
  try {
    const at = random.integer(100, statSync(spoolFile(context)).size - 1);
    const byte = Buffer.alloc(1);
    readSync(file, byte, 0, 1, at);
    byte[0]! ^= 1 << random.integer(0, 7);
    writeSync(file, byte, 0, 1, at);
  } finally {
    closeSync(file);
  }
  struck();
  await installation.start('proxy');
  load.start();
  return { hits: 1 };
}

async function secondProxy({ installation, struck }: FaultContext): Promise<Injected> {
  const { cluster } = installation;
  const second = cluster.secondProxy();
  second.spawn();
  const end = await second.untilEnd();
  struck();
  return { hits: 1, broken: end?.code === 3 ? null : `it ended with ${end?.code}` };
}

async function fillDisk({ installation, load, struck }: FaultContext): Promise<Injected> {
  const disk = installation.cluster.engines.disks?.spool;
  if (disk?.canBeFilled !== true) return { hits: 0, skipped: 'no disk can be mounted here' };
  disk.fill();
  const refusals = (): number => load.counts.failed.get('metering_unavailable') ?? 0;
  const before = refusals();
  try {
    // Until the log file needs more room than it has, everything goes on.
    await eventually(() => refusals() > before, { deadlineMs: 60_000 });
  } finally {
    disk.empty();
  }
  struck();
  await load.untilAnswered(20);
  return { hits: 1 };
}
