/**
 * Compares the Kafka clients behind the port of the event log on a real broker: time of the processor
 * per event, and what a lost reply does. `node dist/test/bench/kafka/run.js [rounds] [events]`
 * prints JSON. Each measured run is a process of its own; the order within a round is drawn.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { provisionKafkaTopics } from '#libs/event-log/adapters';
import { startTestKafka } from '#libs/testing';

import { estimate, generatorOf, shuffled } from '../statistics.js';
import {
  CLIENTS,
  consume,
  openLog,
  PARTITIONS,
  produce,
  type Client,
  type ClientRun,
} from './client-run.js';
import { concurrentIdempotent, oneInFlight } from './lost-replies.js';

const runFile = promisify(execFile);
const BATCH_SIZES = [250, 500];
const SEED = 20_261_121;
const LOST_REPLY_RECORDS = 2_001;

type Step = 'produce' | 'consume';

/** A run in a process of its own. */
async function inChild(
  client: Client,
  step: Step,
  topic: string,
  brokers: readonly string[],
  events: number,
  batchSize: number,
): Promise<ClientRun> {
  const run = ['--run', client, step, topic, brokers.join(), String(events), String(batchSize)];
  const { stdout } = await runFile(process.execPath, [fileURLToPath(import.meta.url), ...run]);
  return JSON.parse(stdout) as ClientRun;
}

async function runHere(args: readonly string[]): Promise<void> {
  const [client, step, topic, brokers, events, batchSize] = args as [Client, Step, ...string[]];
  const log = openLog(client, brokers!.split(','));
  const work = step === 'produce' ? produce : consume;
  const run = await work(log, topic!, Number(events), Number(batchSize));
  process.stdout.write(JSON.stringify(run));
  await log.close();
  process.exit(0);
}

async function compareCost(rounds: number, events: number): Promise<unknown> {
  const kafka = await startTestKafka({ brokers: 1, isFast: true });
  const brokers = kafka.addresses;
  const random = generatorOf(SEED);
  const figures: Record<string, number[]> = {};
  const note = (name: string, value: number): void => void (figures[name] ??= []).push(value);
  try {
    for (let round = 0; round < rounds; round += 1) {
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
  const estimates = Object.entries(figures).map(([name, values]) => [
    name,
    estimate(values, random),
  ]);
  return { rounds, events, seed: SEED, ...Object.fromEntries(estimates) };
}

async function compareLostReplies(): Promise<unknown> {
  const kafka = await startTestKafka({ brokers: 1, isProxied: true });
  const { proxy } = kafka.brokers[0]!;
  const brokers = kafka.addresses;
  const found: Record<string, unknown> = {};
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

const [first, ...rest] = process.argv.slice(2);
if (first === '--run') await runHere(rest);
else {
  const cost = await compareCost(Number(first ?? 7), Number(rest[0] ?? 50_000));
  process.stdout.write(
    `${JSON.stringify({ cost, lostReplies: await compareLostReplies() }, null, 1)}\n`,
  );
  process.exit(0);
}
