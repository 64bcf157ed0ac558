/**
 * Figures of the whole distributed product as separate processes: G17, from the end of an answer to its
 * cost in a query of a rollup, and G14, what an outage of the broker does to callers and how fast the
 * backlog drains afterwards.
 */
import { Kafka, logLevel } from 'kafkajs';

import { delay, SystemClock } from '#libs/kernel';
import { eventually, TestCluster } from '#libs/testing';
import { TOPICS } from '#libs/events';

import { quantile } from '../statistics.js';
import { single, type PartOptions, type PartResult } from './part.js';

const MODEL = {
  id: 'fake-in10-out20',
  inputTokens: 10,
  outputTokens: 20,
  inputUsdPerMillion: '1',
  outputUsdPerMillion: '2',
};
const G17_FLOOR_MS = 2_000;
const G14_LATENCY_FLOOR = 1.5;
const G14_DRAIN_FLOOR = 2;
const CALLS = 200;
const PAUSE_MS = 20;
const NORMAL_S = 20;
const WARM_UP_S = 10;
const clock = new SystemClock();

/** Runs `work` on a cluster of real processes over real Kafka. */
async function onCluster<T>(
  isOwn: boolean,
  work: (cluster: TestCluster) => Promise<T>,
): Promise<T> {
  const cluster = await TestCluster.start({ models: [MODEL], isOwn, logPartitions: 12 });
  try {
    return await work(cluster);
  } finally {
    await cluster.destroy();
  }
}

/** G17: every call has a key of its own, so that a sum of one is the call itself. */
export function measureVisibility({ say }: PartOptions): Promise<PartResult> {
  return onCluster(false, async (cluster) => {
    const timesMs: number[] = [];
    for (let nth = 0; nth < CALLS; nth += 1) {
      const { id, key } = await cluster.api.createKey();
      await eventually(() => call(cluster, key));
      const finishedMs = clock.monotonicMs();
      await eventually(
        async () => {
          const { body } = await cluster.api.usage(`group_by=key&key_id=${id}`);
          return body?.total?.requests >= 1;
        },
        { deadlineMs: 60_000 },
      );
      timesMs.push(clock.monotonicMs() - finishedMs);
      await delay(PAUSE_MS);
    }
    say(`visible after ${Math.round(quantile(timesMs, 0.5))} ms (p50)`);
    return {
      figures: [
        {
          id: 'G17',
          text: 'answer to usage query on real Kafka, p99 ms',
          value: single(quantile(timesMs, 0.99)),
          floor: { limit: G17_FLOOR_MS, isUpper: true },
        },
        { id: '', text: 'the same, p50 ms', value: single(quantile(timesMs, 0.5)), floor: null },
      ],
      runs: timesMs,
    };
  });
}

/** G14: an open loop of requests through normal times, an outage, and the drain. */
export function measureOutage(
  { say }: PartOptions,
  load: { readonly outageSeconds: number; readonly rate: number },
): Promise<PartResult> {
  const { outageSeconds, rate } = load;
  return onCluster(true, async (cluster) => {
    const { key } = await cluster.api.createKey();
    await eventually(() => call(cluster, key), { deadlineMs: 30_000 });
    const broker = cluster.engines.kafka.brokers[0]!;
    const traffic = new OpenLoop(cluster, key, rate);
    await delay(WARM_UP_S * 1_000);
    const normal = await traffic.during(NORMAL_S);
    say(`normal p99 ${normal.p99Ms.toFixed(1)} ms`);
    broker.proxy!.set({ kind: 'refuse' });
    const outage = await traffic.during(outageSeconds);
    say(`outage p99 ${outage.p99Ms.toFixed(1)} ms, ${outage.failures} failures`);
    const topic = await TopicEnds.open([broker.address]);
    broker.proxy!.set({ kind: 'none' });
    const beganMs = clock.monotonicMs();
    const atBegin = await eventually(() => topic.total(), { deadlineMs: 60_000 });
    await eventually(async () => traffic.answered - (await topic.total()) <= rate, {
      deadlineMs: 300_000,
    });
    const seconds = (clock.monotonicMs() - beganMs) / 1_000;
    const drained = (await topic.total()) - atBegin;
    const failures = traffic.failures;
    await traffic.stop();
    await topic.close();
    return {
      figures: [
        {
          id: 'G14',
          text: `p99 while the broker is away ${outageSeconds} s / normal, ${rate} requests/s`,
          value: single(outage.p99Ms / normal.p99Ms),
          floor: { limit: G14_LATENCY_FLOOR, isUpper: true },
        },
        {
          id: 'G14',
          text: 'drain rate / arrival rate, from the end of the outage',
          value: single(drained / seconds / rate),
          floor: { limit: G14_DRAIN_FLOOR, isUpper: false },
        },
        { id: '', text: 'failed requests', value: single(failures), floor: null },
      ],
      runs: { normal, outage, drained, seconds, failures },
    };
  });
}

async function call(cluster: TestCluster, key: string): Promise<boolean> {
  const response = await fetch(`${cluster.proxyUrl}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: MODEL.id, messages: [{ role: 'user', content: 'hello' }] }),
  });
  await response.arrayBuffer();
  return response.status === 200;
}

interface Latencies {
  readonly requests: number;
  readonly failures: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Requests at a fixed rate, whatever their answers do; latency counts from the intended time. */
class OpenLoop {
  answered = 0;
  failures = 0;
  private latenciesMs: number[] = [];
  private readonly stopping = new AbortController();
  private readonly running: Promise<void>;

  constructor(
    private readonly cluster: TestCluster,
    private readonly key: string,
    private readonly rate: number,
  ) {
    this.running = this.run();
  }

  /** The latencies of what is answered within the next seconds. */
  async during(seconds: number): Promise<Latencies> {
    this.latenciesMs = [];
    const before = this.failures;
    await delay(seconds * 1_000);
    const values = this.latenciesMs;
    return {
      requests: values.length,
      failures: this.failures - before,
      p50Ms: quantile(values, 0.5),
      p99Ms: quantile(values, 0.99),
    };
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  private async run(): Promise<void> {
    const beganMs = clock.monotonicMs();
    const open = new Set<Promise<void>>();
    for (let nth = 0; !this.stopping.signal.aborted; nth += 1) {
      const intendedMs = beganMs + (nth * 1_000) / this.rate;
      const waitMs = intendedMs - clock.monotonicMs();
      if (waitMs > 0) await delay(waitMs);
      const one = this.one(intendedMs).finally(() => open.delete(one));
      open.add(one);
    }
    await Promise.all(open);
  }

  private async one(intendedMs: number): Promise<void> {
    const isServed = await call(this.cluster, this.key).catch(() => false);
    if (isServed) this.answered += 1;
    else this.failures += 1;
    this.latenciesMs.push(clock.monotonicMs() - intendedMs);
  }
}

/** How many records the topic holds, by the broker's own word. */
class TopicEnds {
  private constructor(private readonly admin: ReturnType<Kafka['admin']>) {}

  static async open(brokers: readonly string[]): Promise<TopicEnds> {
    const kafka = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING });
    return new TopicEnds(kafka.admin());
  }

  async total(): Promise<number> {
    await this.admin.connect();
    const ends = await this.admin.fetchTopicOffsets(TOPICS.requestCompleted);
    return ends.reduce((sum, { high }) => sum + Number(high), 0);
  }

  close(): Promise<void> {
    return this.admin.disconnect();
  }
}
