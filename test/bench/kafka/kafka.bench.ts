import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { provisionKafkaTopics } from '#libs/event-log/adapters';
import { startTestKafka } from '#libs/testing';

import { estimate, generatorOf, shuffled, type Estimate } from '../statistics.js';
import { CLIENTS, PARTITIONS, type Client, type ClientRun, type Step } from './client-run.js';
import { concurrentIdempotent, oneInFlight, type LostReplies } from './lost-replies.js';

const runFile = promisify(execFile);
const BATCH_SIZES = [250, 500];
/** What runs one client in a process of its own. */
const CHILD = fileURLToPath(new URL('run.js', import.meta.url));
const LOST_REPLY_RECORDS = 2_001;

/** A run in a process of its own. */
async function inChild(
  client: Client,
  step: Step,
  topic: string,
  brokers: readonly string[],
  events: number,
  batchSize: number,
): Promise<ClientRun> {
  const run = [client, step, topic, brokers.join(), String(events), String(batchSize)];
  const { stdout } = await runFile(process.execPath, [CHILD, ...run]);
  return JSON.parse(stdout) as ClientRun;
}

async function compareCost(
  { rounds, events }: KafkaBenchOptions,
  seed: number,
  say: (line: string) => void,
): Promise<Readonly<Record<string, Estimate>>> {
  const kafka = await startTestKafka({ brokers: 1, isFast: true });
  const brokers = kafka.addresses;
  const random = generatorOf(seed);
  const figures: Record<string, number[]> = {};
  const note = (name: string, value: number): void => void (figures[name] ??= []).push(value);
  try {
    for (let round = 0; round < rounds; round += 1) {
      say(`round ${round + 1} of ${rounds}`);
      for (const batchSize of BATCH_SIZES) {
        const cost: Record<string, number> = {};
        for (const client of shuffled(CLIENTS, random)) {
          const topic = `bench-${client}-${batchSize}-${round}`;
          await provisionKafkaTopics({ brokers, clientId: 'bench' }, { [topic]: PARTITIONS });
          for (const step of ['produce', 'consume'] as const) {
            const run = await inChild(client, step, topic, brokers, events, batchSize);
            cost[`${client}.${step}`] = run.cpuUs;
            note(`${client}.${step}.${batchSize}.cpuUs`, run.cpuUs);
            note(`${client}.${step}.${batchSize}.eventsPerSecond`, run.eventsPerSecond);
          }
        }
        for (const step of ['produce', 'consume'] as const) {
          const ratio = cost[`kafkajs.${step}`]! / cost[`platformatic.${step}`]!;
          note(`ratio.${step}.${batchSize}`, ratio);
        }
      }
    }
  } finally {
    await kafka.stop();
  }
  return Object.fromEntries(
    Object.entries(figures).map(([name, values]) => [name, estimate(values, random)]),
  );
}

async function compareLostReplies(): Promise<Readonly<Record<string, LostReplies>>> {
  const kafka = await startTestKafka({ brokers: 1, isProxied: true });
  const { proxy } = kafka.brokers[0]!;
  const brokers = kafka.addresses;
  const found: Record<string, LostReplies> = {};
  try {
    for (const client of CLIENTS) {
      for (const [name, work] of Object.entries({ oneInFlight, concurrentIdempotent })) {
        const topic = `lost-${client}-${name}`;
        await provisionKafkaTopics({ brokers, clientId: 'bench' }, { [topic]: 1 });
        const setting = { client, brokers, proxy: proxy!, topic, records: LOST_REPLY_RECORDS };
        found[`${client}.${name}`] = await work(setting);
      }
    }
  } finally {
    await kafka.stop();
  }
  return found;
}

/** How much is measured. */
export interface KafkaBenchOptions {
  readonly rounds: number;
  /** Events of one run; a fifth of them warms up. */
  readonly events: number;
}

/**
 * Compares the Kafka clients behind the port of the event log on a real broker: time of the processor
 * per event, and what a lost reply does. Each measured run is a process of its own; the order within a
 * round is drawn. About 25 s a round of 50,000 events.
 */
export async function measureKafka(
  options: KafkaBenchOptions,
  seed: number,
  say: (line: string) => void,
) {
  const cost = await compareCost(options, seed, say);
  say('lost replies');
  return { cost, lostReplies: await compareLostReplies() };
}

/** The figures as a table: median and 95 % interval of each, and what lost replies did. */
export function printKafka({
  cost,
  lostReplies,
}: Awaited<ReturnType<typeof measureKafka>>): string {
  const width = Math.max(
    ...[...Object.keys(cost), ...Object.keys(lostReplies)].map((n) => n.length),
  );
  const figures = Object.entries(cost).map(([name, { median, low, high }]) => {
    const [middle, from, to] = [median, low, high].map((value) => Number(value.toPrecision(3)));
    return `${name.padEnd(width)}  ${middle} (${from} to ${to})`;
  });
  const losses = Object.entries(lostReplies).map(
    ([name, { acknowledged, missing, repeated, droppedReplies }]) =>
      `${name.padEnd(width)}  ${acknowledged} acknowledged, ${missing} missing, ` +
      `${repeated} repeated, ${droppedReplies} replies lost`,
  );
  return `${[...figures, '', ...losses].join('\n')}\n`;
}
