/**
 * CPU time per request of the proxy beside its peers: nginx, the same proxy ungoverned, and no proxy
 * at all, in interleaved rounds. What is measured runs alone on one core; the load, the upstream, the
 * database and the other services share the other.
 */
import { execFileSync } from 'node:child_process';

import { delay } from '#libs/kernel';

import type { BenchOptions } from './bench-options.js';
import { cpuTimeUs } from './cpu-time.js';
import { generatorOf, shuffled } from './statistics.js';
import { runStreams } from './stream-load.js';
import type { Subject, SubjectName } from './subject.js';
import { CORES, startTestbed, type Testbed } from './testbed.js';
import { FRAMES_PER_STREAM, PLAIN, STREAM, STREAM_MS, type TrafficName } from './traffic.js';
import { runWrk } from './wrk.js';

/** How long what a load caused may take to end before the time is read, milliseconds. */
const SETTLE_MS = 400;
/** Events still unpublished then would be work that nobody counted. */
const MAX_BACKLOG = 100;

/** One subject under one kind of traffic in one round. */
export interface Measurement {
  readonly round: number;
  readonly traffic: TrafficName;
  readonly subject: SubjectName;
  /** Requests answered; for streams, events. */
  readonly units: number;
  readonly cpuUs: number;
  readonly perUnitUs: number;
  readonly perSecond: number;
  /** Plain: of the whole answer; streams: from the upstream's write to the client's read. */
  readonly p50Us: number;
  readonly p99Us: number;
}

/** Loads every subject in every round. @returns all measurements, in the order they were made */
export async function measureProxy(
  options: BenchOptions,
  seed: number,
  say: (line: string) => void,
): Promise<Measurement[]> {
  execFileSync('taskset', ['-a', '-p', '-c', String(CORES.rest), String(process.pid)]);
  const testbed = await startTestbed(options.profileDir, say);
  try {
    await warmUp(testbed, options, say);
    return await measureRounds(testbed, options, seed, say);
  } finally {
    await testbed.stop();
  }
}

async function warmUp(
  testbed: Testbed,
  options: BenchOptions,
  say: (line: string) => void,
): Promise<void> {
  if (options.warmUpSeconds === 0) return;
  for (const subject of chosen(testbed, options)) {
    // The proxies are compiled while they run; the others only once.
    if (subject.name === 'direct' || subject.name === 'nginx') continue;
    say(`warm-up: ${subject.name}`);
    for (const traffic of options.traffic) {
      await loadOf(
        traffic,
        subject,
        { ...options, seconds: options.warmUpSeconds },
        testbed.folder,
      );
    }
  }
}

async function measureRounds(
  testbed: Testbed,
  options: BenchOptions,
  seed: number,
  say: (line: string) => void,
): Promise<Measurement[]> {
  const random = generatorOf(seed);
  const cases = chosen(testbed, options).flatMap((subject) =>
    options.traffic.map((traffic) => ({ subject, traffic })),
  );
  const measured: Measurement[] = [];
  for (let round = 1; round <= options.rounds; round += 1) {
    for (const { subject, traffic } of shuffled(cases, random)) {
      const one = await measureOne(testbed, subject, traffic, options);
      measured.push({ round, ...one });
      say(
        `round ${round}/${options.rounds}  ${traffic.padEnd(6)} ${subject.name.padEnd(10)} ` +
          `${one.perUnitUs.toFixed(1).padStart(7)} us  ${Math.round(one.perSecond)}/s`,
      );
    }
  }
  return measured;
}

function chosen(testbed: Testbed, options: BenchOptions): Subject[] {
  return testbed.subjects.filter(({ name }) => options.subjects.includes(name));
}

async function measureOne(
  testbed: Testbed,
  subject: Subject,
  traffic: TrafficName,
  options: BenchOptions,
): Promise<Omit<Measurement, 'round'>> {
  const beforeUs = cpuTimeUs(subject.pids);
  const load = await loadOf(traffic, subject, options, testbed.folder);
  await delay(SETTLE_MS);
  const cpuUs = cpuTimeUs(subject.pids) - beforeUs;
  const isGoverned = subject.name === 'governed' || subject.name === 'budgeted';
  const backlog = isGoverned ? await testbed.backlog() : 0;
  if (backlog > MAX_BACKLOG) throw new Error(`${backlog} events were not published in time`);
  const { units, seconds, p50Us, p99Us } = load;
  const perUnitUs = cpuUs / units;
  const perSecond = units / seconds;
  return { traffic, subject: subject.name, units, cpuUs, perUnitUs, perSecond, p50Us, p99Us };
}

interface LoadOutcome {
  readonly units: number;
  readonly seconds: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

/** @throws Error when a single request failed or a single event is missing */
async function loadOf(
  traffic: TrafficName,
  subject: Subject,
  options: BenchOptions,
  folder: string,
): Promise<LoadOutcome> {
  const url = `${subject.url}/v1/chat/completions`;
  const headers = {
    authorization: subject.authorization,
    'content-type': 'application/json',
  };
  const { seconds, connections, streams } = options;
  if (traffic === 'plain') {
    const core = CORES.rest;
    const load = { url, headers, body: PLAIN.body, connections, seconds, core };
    const result = await runWrk(load, folder);
    const faults = result.non2xx + result.socketErrors;
    if (faults > 0) throw new Error(`${faults} requests to ${subject.name} failed`);
    return { ...result, units: result.requests };
  }
  const load = { url, headers, body: STREAM.body, streams, seconds, streamMs: STREAM_MS };
  const result = await runStreams(load);
  if (result.errors > 0) throw new Error(`${result.errors} streams of ${subject.name} failed`);
  const expected = result.streams * FRAMES_PER_STREAM;
  if (result.frames !== expected) {
    throw new Error(`${result.frames} events of ${expected} came through ${subject.name}`);
  }
  return { ...result, units: result.frames };
}
