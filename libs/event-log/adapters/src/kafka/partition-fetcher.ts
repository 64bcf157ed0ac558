import type { Broker, Cluster } from 'kafkajs';

import type { KafkaLink } from './kafka-connection.js';
import { fromKafkaError, isKafkaError, isUnanswered } from './kafka-errors.js';
import { fromMessage, type KafkaMessage } from './kafka-record.mapping.js';
import { PartitionFeed, type FeedContext } from './partition-feed.js';

/** How long a broker holds a fetch back when it has nothing, milliseconds. */
const WAIT_MS = 250;
/** The same when a partition is left out that may want more at any time. */
const SHORT_WAIT_MS = 50;
/** Most bytes of one fetch per partition, and of one fetch. */
const PARTITION_BYTES = 1024 * 1024;
const FETCH_BYTES = 16 * 1024 * 1024;

/** What a fetch brought of one partition. */
interface FetchedPartition {
  readonly partition: number;
  readonly highWatermark: string;
  readonly messages: readonly KafkaMessage[];
}

interface FetchResponse {
  readonly responses: readonly {
    readonly topicName: string;
    readonly partitions: readonly FetchedPartition[];
  }[];
}

/**
 * Fetches for all partitions of a member: per broker one request at a time, which names every
 * partition that wants more. The client fails a whole answer for one partition that it cannot read:
 * each is then asked for alone, and those that fail stay alone until they succeed.
 */
export class PartitionFetcher {
  private readonly feeds = new Map<string, PartitionFeed>();
  /** Partitions whose last fetch failed. */
  private readonly suspects = new Set<PartitionFeed>();
  /** Brokers with a request under way. */
  private readonly busy = new Set<string>();
  private isLooking = false;
  private shallLookAgain = false;

  constructor(
    private readonly link: KafkaLink,
    private readonly context: Omit<FeedContext, 'onChange'>,
  ) {}

  /** Feeds a partition from now on. */
  add(topic: string, partition: number): PartitionFeed {
    const feed = new PartitionFeed(topic, partition, {
      ...this.context,
      onChange: () => this.look(),
    });
    this.feeds.set(`${topic}/${partition}`, feed);
    return feed;
  }

  /** Feeds it no longer. */
  remove(feed: PartitionFeed): void {
    feed.close();
    this.suspects.delete(feed);
    const id = `${feed.topic}/${feed.partition}`;
    if (this.feeds.get(id) === feed) this.feeds.delete(id);
  }

  /** Starts a request at every broker that is free and leads a partition that wants more. */
  private look(): void {
    this.shallLookAgain = true;
    if (this.isLooking) return;
    this.isLooking = true;
    void this.lookOnce().finally(() => {
      this.isLooking = false;
      if (this.shallLookAgain) this.look();
    });
  }

  private async lookOnce(): Promise<void> {
    this.shallLookAgain = false;
    const wanting = [...this.feeds.values()].filter((feed) => feed.isWanting);
    if (wanting.length === 0) return;
    let cluster: Cluster | undefined;
    try {
      cluster = await this.link.cluster();
      const { leaders, leaderless } = byLeader(cluster, wanting);
      for (const [nodeId, feeds] of leaders) {
        if (this.busy.has(nodeId)) continue;
        this.busy.add(nodeId);
        void this.fetch(cluster, nodeId, feeds).finally(() => {
          this.busy.delete(nodeId);
          this.look();
        });
      }
      if (leaderless.size > 0) await this.link.recover(cluster);
      for (const [feed, error] of leaderless) feed.fail(fromKafkaError(error));
    } catch (error) {
      if (cluster !== undefined) await this.link.recover(cluster);
      for (const feed of wanting) feed.fail(fromKafkaError(error));
    }
  }

  /** Requests one after the other; whatever happens is told to the feeds. */
  private async fetch(
    cluster: Cluster,
    nodeId: string,
    feeds: readonly PartitionFeed[],
  ): Promise<void> {
    const together = feeds.filter((feed) => !this.suspects.has(feed));
    const alone = feeds.filter((feed) => this.suspects.has(feed));
    const requests = alone.map((feed) => [feed]);
    if (together.length > 0) requests.push(together);
    for (let asked = requests.shift(); asked !== undefined; asked = requests.shift()) {
      const error = await this.ask(cluster, nodeId, asked);
      if (error === null) continue;
      if (isUnanswered(error)) {
        await this.link.recover(cluster);
        for (const feed of [...asked, ...requests.flat()]) feed.fail(fromKafkaError(error));
        return;
      }
      for (const feed of asked) this.suspect(feed);
      if (asked.length > 1) {
        requests.unshift(...asked.map((feed) => [feed]));
      } else {
        if (!isKafkaError(error, 'OFFSET_OUT_OF_RANGE')) await this.link.recover(cluster);
        for (const feed of asked) feed.fail(fromKafkaError(error));
      }
    }
  }

  private suspect(feed: PartitionFeed): void {
    // One that was given up meanwhile is nobody's any more.
    if (this.feeds.get(`${feed.topic}/${feed.partition}`) === feed) this.suspects.add(feed);
  }

  /** One request. @returns why it failed; null when its records were delivered */
  private async ask(
    cluster: Cluster,
    nodeId: string,
    feeds: readonly PartitionFeed[],
  ): Promise<Error | null> {
    const asked = new Map(feeds.map((feed) => [feed, feed.fetchOffset]));
    const isAlone = feeds.some((feed) => this.suspects.has(feed));
    try {
      const broker = await cluster.findBroker({ nodeId });
      const response = await request(broker, asked, isAlone ? 0 : this.waitMs(feeds));
      this.deliver(asked, response);
      for (const feed of feeds) this.suspects.delete(feed);
      return null;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  private waitMs(asked: readonly PartitionFeed[]): number {
    return asked.length < this.feeds.size ? SHORT_WAIT_MS : WAIT_MS;
  }

  private deliver(asked: ReadonlyMap<PartitionFeed, bigint>, response: FetchResponse): void {
    for (const { topicName, partitions } of response.responses) {
      for (const { partition, highWatermark, messages } of partitions) {
        const feed = this.feeds.get(`${topicName}/${partition}`);
        const from = feed === undefined ? undefined : asked.get(feed);
        if (feed === undefined || from === undefined) continue;
        const records = messages
          .filter((message) => !message.isControlRecord)
          .map((message) => fromMessage(topicName, partition, message));
        feed.accept(from, records, BigInt(highWatermark));
      }
    }
  }
}

/** Feeds by the broker that leads them, and why some are led by none. */
function byLeader(
  cluster: Cluster,
  feeds: readonly PartitionFeed[],
): {
  readonly leaders: ReadonlyMap<string, PartitionFeed[]>;
  readonly leaderless: ReadonlyMap<PartitionFeed, unknown>;
} {
  const leaders = new Map<string, PartitionFeed[]>();
  const leaderless = new Map<PartitionFeed, unknown>();
  for (const feed of feeds) {
    try {
      const [nodeId] = Object.keys(cluster.findLeaderForPartitions(feed.topic, [feed.partition]));
      // A partition that the metadata does not know: node -1 is not found, and the reader hears of it.
      const leader = nodeId ?? '-1';
      const led = leaders.get(leader);
      if (led === undefined) leaders.set(leader, [feed]);
      else led.push(feed);
    } catch (error) {
      leaderless.set(feed, error);
    }
  }
  return { leaders, leaderless };
}

async function request(
  broker: Broker,
  asked: ReadonlyMap<PartitionFeed, bigint>,
  maxWaitTime: number,
): Promise<FetchResponse> {
  const topics = [...asked].map(([{ topic, partition }, offset]) => ({
    topic,
    partitions: [{ partition, fetchOffset: String(offset), maxBytes: PARTITION_BYTES }],
  }));
  const answer: unknown = await broker.fetch({
    isolationLevel: 0,
    maxWaitTime,
    minBytes: 1,
    maxBytes: FETCH_BYTES,
    topics,
  });
  return answer as FetchResponse;
}
