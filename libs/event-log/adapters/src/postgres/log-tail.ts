import { delay } from '#libs/kernel';
import type { Database } from '#libs/platform/postgres';
import type { AppendSignal } from './append-signal.js';

/** Pause between two looks right after something was new, and the most it grows to, milliseconds. */
const POLL_FIRST_MS = 20;
const POLL_MOST_MS = 50;

const TAILS = {
  name: 'event_log_tails',
  text: 'SELECT topic, "partition", next_offset FROM event_log.tails($1)',
};

interface Waiter {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  readonly wake: () => void;
}

/**
 * Knows how far the partitions reach. It polls, one query for all partitions that anybody waits for,
 * and only while somebody waits; appends of this process are known at once.
 */
export class LogTail {
  private readonly known = new Map<string, bigint>();
  private readonly waiters = new Set<Waiter>();
  private polling: Promise<void> | undefined;
  private readonly closing = new AbortController();
  private readonly unsubscribe: () => void;

  constructor(
    private readonly database: Database,
    private readonly signal: AppendSignal,
  ) {
    this.unsubscribe = signal.subscribe((topic, partition, next) =>
      this.observe(topic, partition, next),
    );
  }

  /** Takes note that every offset below `nextOffset` is readable. */
  observe(topic: string, partition: number, nextOffset: bigint): boolean {
    const id = `${topic}/${partition}`;
    if (nextOffset <= (this.known.get(id) ?? -1n)) return false;
    this.known.set(id, nextOffset);
    for (const waiter of this.waiters) {
      if (waiter.topic !== topic || waiter.partition !== partition) continue;
      if (waiter.offset < nextOffset) waiter.wake();
    }
    return true;
  }

  /** Every offset below is readable; null when nobody has looked yet. */
  knownEnd(topic: string, partition: number): bigint | null {
    return this.known.get(`${topic}/${partition}`) ?? null;
  }

  /**
   * Waits until the record at `offset` exists. It may return early, when a poll fails: the caller's
   * own read then says why.
   * @param patienceMs returns after that time in any case
   */
  async waitFor(
    topic: string,
    partition: number,
    offset: bigint,
    signal: AbortSignal,
    patienceMs?: number,
  ): Promise<void> {
    if (signal.aborted || offset < (this.known.get(`${topic}/${partition}`) ?? 0n)) return;
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', wake);
        this.waiters.delete(waiter);
        resolve();
      };
      const waiter: Waiter = { topic, partition, offset, wake };
      const timer = patienceMs === undefined ? undefined : setTimeout(wake, patienceMs);
      signal.addEventListener('abort', wake, { once: true });
      this.waiters.add(waiter);
      this.polling ??= this.poll();
    });
  }

  /** Wakes everybody and stops polling. */
  async close(): Promise<void> {
    this.unsubscribe();
    this.closing.abort();
    this.wakeAll();
    await this.polling;
  }

  private async poll(): Promise<void> {
    let pauseMs = POLL_FIRST_MS;
    while (!this.closing.signal.aborted) {
      await delay(pauseMs, this.closing.signal);
      if (this.waiters.size === 0 || this.closing.signal.aborted) break;
      const isNew = await this.look();
      pauseMs = isNew ? POLL_FIRST_MS : Math.min(POLL_MOST_MS, pauseMs + 5);
    }
    this.polling = undefined;
  }

  private async look(): Promise<boolean> {
    const topics = [...new Set([...this.waiters].map((waiter) => waiter.topic))];
    try {
      const { rows } = await this.database.query<{
        topic: string;
        partition: number;
        next_offset: bigint;
      }>(TAILS, [topics]);
      let isNew = false;
      for (const { topic, partition, next_offset: next } of rows) {
        if (this.observe(topic, partition, next)) isNew = true;
      }
      return isNew;
    } catch {
      // The readers meet the failure themselves, report it and back off.
      this.wakeAll();
      return false;
    }
  }

  private wakeAll(): void {
    for (const waiter of this.waiters) waiter.wake();
  }
}
