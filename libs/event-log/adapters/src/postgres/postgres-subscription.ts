import { delay, type Clock, type Random } from '#libs/kernel';
import type { LogSubscription, PartitionLag } from '../../../core/src/index.js';
import { PartitionReader } from '../partition-reader.js';
import type { MemberSession } from './member-session.js';
import {
  PostgresPartitionSource,
  type PostgresSourceOptions,
} from './postgres-partition-source.js';

/** How a member takes part in its group. */
export interface MembershipOptions {
  /** Unique among all members for ever. */
  readonly memberId: string;
  readonly session: MemberSession;
  readonly clock: Clock;
  /** Pause between heartbeats, milliseconds. */
  readonly heartbeatMs: number;
  /** After this long without a heartbeat the group deals the member's partitions out, milliseconds. */
  readonly sessionMs: number;
}

/** What each reader of the subscription gets. */
export interface ReaderContext extends PostgresSourceOptions {
  readonly random: Random;
}

interface ClaimRow extends Record<string, unknown> {
  readonly topic: string;
  readonly partition: number;
  /** Generation of the claim; null while another member holds the partition. */
  readonly claim: bigint | null;
  readonly is_due: boolean;
}

interface PartitionName {
  readonly topic: string;
  readonly partition: number;
}

interface HeldPartition extends PartitionName {
  readonly claim: bigint;
  readonly reader: PartitionReader;
}

/** Pause between heartbeats while a partition of ours is still held by another member, ms. */
const PENDING_MS = 100;

const HEARTBEAT = `SELECT topic, "partition", claim, is_due
  FROM event_log.heartbeat($1, $2, $3, $4, $5, $6, $7)`;

/** A running member of a group: heartbeats, and one reader per partition it holds. */
export class PostgresSubscription implements LogSubscription {
  private readonly held = new Map<string, HeldPartition>();
  /** Readers that were told to end and have not yet; the claim stays until they have. */
  private readonly ending = new Map<PartitionReader, HeldPartition>();
  private released: PartitionName[] = [];
  private readonly stopping = new AbortController();
  private wake = new AbortController();
  /** Called after the next heartbeat that starts from now on. */
  private confirmations: (() => void)[] = [];
  private lastBeatMs: number;
  /** Whether another member still holds a partition that has fallen to us. */
  private isPending = false;
  private running: Promise<void> | undefined;
  private stopped: Promise<void> | undefined;

  constructor(
    private readonly membership: MembershipOptions,
    private readonly readers: ReaderContext,
    private readonly onStopped: () => void,
  ) {
    this.lastBeatMs = membership.clock.monotonicMs();
  }

  /** Joins the group; resolves after the first heartbeat. @throws when that fails */
  async start(): Promise<void> {
    await this.beat();
    this.running = this.run();
  }

  assigned(): readonly string[] {
    return [...this.held.keys()].toSorted();
  }

  lag(): readonly PartitionLag[] {
    return [...this.held.values()].map(({ reader }) => reader.lag());
  }

  stop(): Promise<void> {
    this.stopped ??= this.leave();
    return this.stopped;
  }

  private async leave(): Promise<void> {
    this.stopping.abort();
    this.wake.abort();
    for (const id of this.held.keys()) this.end(id);
    await Promise.all([...this.ending.keys()].map((reader) => reader.ended));
    await this.running;
    const { session, memberId } = this.membership;
    const { group } = this.readers.subscription;
    try {
      await session.query('SELECT event_log.leave($1, $2)', () => [group, memberId]);
    } catch (error) {
      // The group finds out by itself when the session is over.
      this.report(error);
    }
    this.onStopped();
  }

  private async run(): Promise<void> {
    while (!this.stopping.signal.aborted) {
      await delay(this.pauseMs(), this.wake.signal);
      if (this.stopping.signal.aborted) break;
      this.wake = new AbortController();
      const confirmed = this.confirmations;
      this.confirmations = [];
      try {
        await this.beat();
      } catch (error) {
        this.report(error);
        this.loseAllWhenExpired();
      }
      for (const confirm of confirmed) confirm();
    }
    for (const confirm of this.confirmations) confirm();
  }

  private pauseMs(): number {
    return this.isPending ? PENDING_MS : this.membership.heartbeatMs;
  }

  private async beat(): Promise<void> {
    const { memberId, session, sessionMs, clock } = this.membership;
    const { group, topics } = this.readers.subscription;
    const released = [...this.released];
    const startMs = clock.monotonicMs();
    const { rows } = await session.query<ClaimRow>(HEARTBEAT, (lock) => [
      group,
      memberId,
      topics,
      lock,
      sessionMs,
      released.map((held) => held.topic),
      released.map((held) => held.partition),
    ]);
    this.released = this.released.filter((held) => !released.includes(held));
    this.lastBeatMs = startMs;
    if (!this.stopping.signal.aborted) this.apply(rows);
  }

  private apply(rows: readonly ClaimRow[]): void {
    const claims = new Map(rows.map((row) => [`${row.topic}/${row.partition}`, row]));
    for (const [id, held] of this.held) {
      const row = claims.get(id);
      if (row === undefined || row.claim !== held.claim || !row.is_due) this.end(id);
    }
    const busy = new Set([...this.ending.values(), ...this.released].map(idOf));
    for (const [id, { topic, partition, claim, is_due: isDue }] of claims) {
      if (claim === null || this.held.has(id) || busy.has(id)) continue;
      if (isDue) {
        this.held.set(id, { topic, partition, claim, reader: this.startReader(topic, partition) });
      } else {
        // Claimed by a heartbeat whose answer we never got.
        this.released.push({ topic, partition });
      }
    }
    this.isPending = rows.some((row) => row.claim === null);
  }

  private startReader(topic: string, partition: number): PartitionReader {
    const confirmClaim = (): Promise<void> =>
      new Promise((confirm) => {
        if (this.stopping.signal.aborted) return confirm();
        this.confirmations.push(confirm);
        this.wake.abort();
      });
    const { subscription, random } = this.readers;
    const source = new PostgresPartitionSource(this.readers, topic, partition);
    return new PartitionReader({ source, random, subscription, topic, partition, confirmClaim });
  }

  /** Lets a reader finish; then the next heartbeat gives the partition up. */
  private end(id: string): void {
    const held = this.held.get(id);
    if (held === undefined) return;
    this.held.delete(id);
    this.ending.set(held.reader, held);
    held.reader.end();
    void held.reader.ended.then(() => {
      this.ending.delete(held.reader);
      this.released.push(held);
      this.wake.abort();
    });
  }

  /** Without heartbeats the group has given our partitions to others by now. */
  private loseAllWhenExpired(): void {
    const { clock, sessionMs } = this.membership;
    if (clock.monotonicMs() - this.lastBeatMs < sessionMs) return;
    for (const id of this.held.keys()) this.end(id);
  }

  private report(error: unknown): void {
    for (const topic of this.readers.subscription.topics) {
      this.readers.subscription.onError(error, { topic, partition: -1 });
    }
  }
}

function idOf(held: PartitionName): string {
  return `${held.topic}/${held.partition}`;
}
