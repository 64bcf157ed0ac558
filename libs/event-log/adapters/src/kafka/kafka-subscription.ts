import { backoffMs, delay, type Clock, type Random } from '#libs/kernel';
import type {
  LogSubscription,
  PartitionBounds,
  PartitionLag,
  SubscribeOptions,
} from '../../../core/src/index.js';
import { PartitionReader } from '../partition-reader.js';
import {
  isCoordinatorMoving,
  isForgotten,
  isRebalance,
  KafkaFixedMember,
  KafkaGroupMember,
  type AssignedPartition,
  type GroupOptions,
  type ShownOffset,
} from './group-member.js';
import type { KafkaLink } from './kafka-connection.js';
import { fromKafkaError } from './kafka-errors.js';
import type { PartitionFeed } from './partition-feed.js';
import { PartitionFetcher } from './partition-fetcher.js';

/** What a subscription works with. */
export interface KafkaSubscriptionOptions {
  readonly link: KafkaLink;
  readonly clock: Clock;
  readonly random: Random;
  readonly subscription: SubscribeOptions;
  readonly bounds: (topic: string, partition: number) => Promise<PartitionBounds>;
  /** Pause between heartbeats, milliseconds. */
  readonly heartbeatMs: number;
  readonly sessionMs: number;
  readonly rebalanceMs: number;
  readonly onStopped: () => void;
}

interface HeldPartition extends AssignedPartition {
  readonly reader: PartitionReader;
  readonly feed: PartitionFeed;
}

/** Pause after the group could not be reached, milliseconds. */
const RETRY = { firstMs: 100, mostMs: 5_000 };
/** A coordinator that moves is news only when it does not arrive, after about five seconds. */
const JOIN_TRIES_UNREPORTED = 6;
/** How long a stop waits for a group that is being dealt out anew, milliseconds. */
const JOIN_PATIENCE_MS = 3_000;

/**
 * A running member of a group: heartbeats beside the handlers, one reader per partition it holds.
 * When the group deals its partitions out anew, the batches in hand are finished first; a member that
 * takes longer than the group waits is shut out by the fence of its next transaction.
 */
export class KafkaSubscription implements LogSubscription {
  private readonly member: KafkaGroupMember;
  private readonly fetcher: PartitionFetcher;
  private held: HeldPartition[] = [];
  private readonly stopping = new AbortController();
  private wake = new AbortController();
  private confirmations: (() => void)[] = [];
  private readonly shown = new Map<string, bigint>();
  private running: Promise<void> | undefined;
  private stopped: Promise<void> | undefined;

  constructor(private readonly options: KafkaSubscriptionOptions) {
    const { link, subscription, bounds, sessionMs, rebalanceMs } = options;
    const { group, topics } = subscription;
    const groupOptions: GroupOptions = { group, topics, sessionMs, rebalanceMs };
    const { fixedPartitions } = subscription;
    this.member =
      fixedPartitions === undefined
        ? new KafkaGroupMember(link, groupOptions)
        : new KafkaFixedMember(link, groupOptions, fixedPartitions);
    this.fetcher = new PartitionFetcher(link, { limits: subscription, bounds });
  }

  /** Joins the group in the background: it may have to wait for batches in the hands of others. */
  start(): void {
    this.running = this.run();
  }

  assigned(): readonly string[] {
    return this.held.map(({ topic, partition }) => `${topic}/${partition}`).toSorted();
  }

  lag(): readonly PartitionLag[] {
    return this.held.map(({ reader }) => reader.lag());
  }

  stop(): Promise<void> {
    return (this.stopped ??= this.leave());
  }

  private async leave(): Promise<void> {
    this.stopping.abort();
    this.wake.abort();
    const { held } = this;
    for (const { reader } of held) reader.end();
    await Promise.all(held.map(({ reader }) => reader.ended));
    const patience = new AbortController();
    await Promise.race([this.running, delay(JOIN_PATIENCE_MS, patience.signal)]);
    patience.abort();
    this.options.link.close();
    await this.running;
    this.options.onStopped();
  }

  private async run(): Promise<void> {
    let failures = 0;
    while (!this.stopping.signal.aborted) {
      try {
        const assignment = await this.member.join();
        failures = 0;
        if (this.stopping.signal.aborted) break;
        for (const { topic, partition } of assignment) this.hold(topic, partition);
        await this.beatUntilDealtAnew();
      } catch (error) {
        const isOrdinary = isRebalance(error) || isForgotten(error);
        const isStarting = isCoordinatorMoving(error) && failures < JOIN_TRIES_UNREPORTED;
        if (!isOrdinary && !isStarting) this.report(error);
        await this.pause(failures);
        failures += 1;
      }
      await this.letGo();
    }
    await this.letGo();
    // The session ends by itself when the group cannot be told.
    await this.member.leave().catch(() => undefined);
  }

  /** Resolves when the group deals out anew, has forgotten the member, or the member stops. */
  private async beatUntilDealtAnew(): Promise<void> {
    const { clock, heartbeatMs, sessionMs } = this.options;
    let lastBeatMs = clock.monotonicMs();
    let failures = 0;
    while (!this.stopping.signal.aborted) {
      await delay(heartbeatMs, this.wake.signal);
      if (this.stopping.signal.aborted) return;
      this.wake = new AbortController();
      const confirmed = this.confirmations;
      this.confirmations = [];
      const startMs = clock.monotonicMs();
      try {
        await this.member.heartbeat();
        lastBeatMs = startMs;
        failures = 0;
        await this.show();
      } catch (error) {
        if (isRebalance(error) || isForgotten(error)) return;
        this.report(error);
        // Without heartbeats the group has given our partitions to others by now.
        if (clock.monotonicMs() - lastBeatMs >= sessionMs) return;
        await this.pause(failures);
        failures += 1;
      } finally {
        for (const confirm of confirmed) confirm();
      }
    }
  }

  private hold(topic: string, partition: number): void {
    const { random, subscription } = this.options;
    const feed = this.fetcher.add(topic, partition);
    const reader = new PartitionReader({
      source: feed,
      random,
      subscription,
      topic,
      partition,
      confirmClaim: () => this.nextBeat(),
    });
    this.held.push({ topic, partition, reader, feed });
  }

  /** Finishes the batches in hand, and stays a living member of the group while they last. */
  private async letGo(): Promise<void> {
    const { held } = this;
    if (held.length === 0) return;
    this.held = [];
    for (const { reader } of held) reader.end();
    for (const confirm of this.confirmations.splice(0)) confirm();
    const done = new AbortController();
    const ended = Promise.all(held.map(({ reader }) => reader.ended)).then(() => done.abort());
    while (!done.signal.aborted) {
      await delay(this.options.heartbeatMs, done.signal);
      // Only keeps the session alive; the answer is that the group waits, or is known already.
      if (!done.signal.aborted) await this.member.heartbeat().catch(() => undefined);
    }
    await ended;
    await this.show(held).catch(() => undefined);
    for (const { feed } of held) this.fetcher.remove(feed);
  }

  /** Resolves when the next heartbeat has shown whether the member still belongs to the group. */
  private nextBeat(): Promise<void> {
    return new Promise((confirm) => {
      if (this.stopping.signal.aborted || this.held.length === 0) return confirm();
      this.confirmations.push(confirm);
      this.wake.abort();
    });
  }

  /** Stores the positions that moved with the group, for displays. */
  private async show(held: readonly HeldPartition[] = this.held): Promise<void> {
    const moved: ShownOffset[] = [];
    for (const { topic, partition, reader } of held) {
      const { nextOffset } = reader;
      if (nextOffset === null || this.shown.get(`${topic}/${partition}`) === nextOffset) continue;
      moved.push({ topic, partition, nextOffset });
    }
    if (moved.length === 0) return;
    await this.member.show(moved);
    for (const { topic, partition, nextOffset } of moved) {
      this.shown.set(`${topic}/${partition}`, nextOffset);
    }
  }

  private async pause(failures: number): Promise<void> {
    const unit = 0.5 + this.options.random.bytes(1)[0]! / 512;
    await delay(backoffMs(failures, RETRY, unit), this.stopping.signal);
  }

  private report(error: unknown): void {
    const { topics, onError } = this.options.subscription;
    if (this.stopping.signal.aborted) return;
    for (const topic of topics) onError(fromKafkaError(error), { topic, partition: -1 });
  }
}
