import type { AppError, Clock } from '#libs/kernel';

import type { GroupQueue, TakenGroup, WaitingOpen } from './group-queue.js';
import { unavailable } from './writer-protocol.js';
import type { WriterListener, WriterThread } from './writer-thread.js';

/** Pause before failed events are tried again, milliseconds. */
const RETRY_MS = 1_000;

/** The part of a structured logger that the spool uses. */
export interface SpoolLogger {
  warn(facts: object, message: string): void;
  error(facts: object, message: string): void;
}

/** What can be counted; called once per group, never per record. */
export interface SpoolMetrics {
  /** A group became durable after so many milliseconds. */
  committed(records: number, commitMs: number): void;
  /** A group was not stored; its events are tried again, its intents were refused. */
  failed(): void;
}

/** What a committer is made of. */
export interface GroupCommitterParts {
  readonly queue: GroupQueue;
  readonly writer: Pick<WriterThread, 'commit'>;
  readonly clock: Clock;
  /** Shortest time between two commits, milliseconds; a record after a longer rest goes at once. */
  readonly groupMs: number;
  readonly isDiskFull: boolean;
  readonly logger: SpoolLogger | undefined;
  readonly metrics: SpoolMetrics | undefined;
  /** Takes in a durable group before its promises resolve. */
  readonly stored: (group: TakenGroup, lastPosition: number) => void;
  /** Forgets an intent that was not stored. */
  readonly refused: (entry: WaitingOpen) => void;
  readonly died: (error: AppError) => void;
}

/**
 * Decides when a group goes to the writer: one in flight, the next gathers meanwhile. Of a group that
 * was not stored the intents are refused and the events tried again every second.
 */
export class GroupCommitter implements WriterListener {
  /** Whether admissions wait for the reserve to stand again. */
  isDiskFull: boolean;
  /** Whether events wait to be tried again. */
  isRetrying = false;
  private inFlight: (TakenGroup & { readonly sinceMs: number }) | null = null;
  private isScheduled = false;
  private isDead = false;
  private lastFlushMs = 0;
  private retryTimer: NodeJS.Timeout | null = null;
  private drained: (() => void) | null = null;

  constructor(private readonly parts: GroupCommitterParts) {
    this.isDiskFull = parts.isDiskFull;
  }

  /** Sees to it that what is queued is committed. */
  schedule(): void {
    if (this.isScheduled || this.inFlight !== null || this.isRetrying || this.isDead) return;
    this.isScheduled = true;
    const waitMs = this.lastFlushMs + this.parts.groupMs - this.parts.clock.monotonicMs();
    if (waitMs > 0) setTimeout(this.flush, waitMs);
    else setImmediate(this.flush);
  }

  /** How long the commit in flight has been under way, milliseconds; 0 when there is none. */
  commitAgeMs(): number {
    return this.inFlight === null ? 0 : this.parts.clock.monotonicMs() - this.inFlight.sinceMs;
  }

  /** Resolves when nothing is queued or in flight. */
  drain(): Promise<void> {
    if (this.isDrained()) return Promise.resolve();
    this.schedule();
    return new Promise((resolve) => {
      this.drained = resolve;
    });
  }

  committed(lastPosition: number): void {
    const group = this.takeInFlight();
    this.parts.metrics?.committed(
      group.opens.length + group.appends.length,
      this.parts.clock.monotonicMs() - group.sinceMs,
    );
    this.parts.stored(group, lastPosition);
    for (const entry of group.opens) entry.resolve();
    for (const entry of group.appends) entry.resolve();
    this.next();
  }

  failed(diskFull: boolean, reason: string): void {
    const group = this.takeInFlight();
    this.parts.metrics?.failed();
    this.parts.logger?.error({ reason, events: group.appends.length }, 'spool commit failed');
    this.parts.queue.putBack(group.appends);
    this.refuse([...group.opens, ...this.parts.queue.takeOpens()], reason);
    // The first failure has just freed the reserve: what waits fits now and need not wait a second.
    const isFirst = diskFull && !this.isDiskFull;
    this.isDiskFull ||= diskFull;
    if (isFirst || this.parts.queue.isEmpty) return this.next();
    this.isRetrying = true;
    this.retryTimer = setTimeout(() => {
      this.isRetrying = false;
      this.next();
    }, RETRY_MS);
  }

  died(reason: string): void {
    const error = unavailable(reason);
    this.isDead = true;
    if (this.retryTimer !== null) clearTimeout(this.retryTimer);
    const group = this.inFlight;
    this.inFlight = null;
    this.refuse([...(group?.opens ?? []), ...this.parts.queue.takeOpens()], reason);
    for (const entry of [...(group?.appends ?? []), ...this.parts.queue.takeAppends()]) {
      entry.reject(error);
    }
    this.drained?.();
    this.parts.died(error);
  }

  private readonly flush = (): void => {
    this.isScheduled = false;
    const { queue, clock, writer } = this.parts;
    if (this.inFlight !== null || queue.isEmpty || this.isDead) return;
    const group = queue.take(clock.nowMs() * 1000);
    this.lastFlushMs = clock.monotonicMs();
    this.inFlight = { ...group, sinceMs: this.lastFlushMs };
    writer.commit(group.packed);
  };

  private next(): void {
    if (!this.parts.queue.isEmpty) this.schedule();
    else if (this.isDrained()) this.drained?.();
  }

  private isDrained(): boolean {
    return this.isDead || (this.inFlight === null && this.parts.queue.isEmpty);
  }

  private takeInFlight(): TakenGroup & { readonly sinceMs: number } {
    const group = this.inFlight;
    if (group === null) throw unavailable('an answer without a group in flight');
    this.inFlight = null;
    return group;
  }

  private refuse(opens: readonly WaitingOpen[], reason: string): void {
    for (const entry of opens) {
      this.parts.refused(entry);
      entry.reject(unavailable(reason));
    }
  }
}
