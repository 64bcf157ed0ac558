import { assert, backoffMs, delay, failpoint, type Clock, type Random } from '#libs/kernel';

import type { EventPublisher, Publication } from '../ports/event-publisher.port.js';
import type { LaneRange, Spool, SpooledEvent } from '../ports/spool.port.js';
import { ResendQueue } from './resend-queue.js';

/** Bounds of one batch: what one request to the event log carries comfortably. */
const BATCH = { maxEvents: 500, maxBytes: 1_048_576 } as const;
/** Pauses between attempts to publish the same batch. */
const BACKOFF = { firstMs: 100, mostMs: 10_000 } as const;

/** What a relay is made of. */
export interface SpoolRelayParts {
  readonly spool: Spool;
  readonly publisher: EventPublisher;
  readonly clock: Clock;
  readonly random: Random;
  /**
   * How long a batch waits for company, milliseconds; one request to the log then carries many events.
   * @default 25
   */
  readonly lingerMs?: number;
  /** Told of each failure before its pause; the relay goes on by itself. */
  readonly onError?: (error: unknown, attempt: number) => void;
  /**
   * Told what a resend asked for and the spool has no longer; called again until it succeeds.
   * @default nobody is told
   */
  readonly onMissing?: (ranges: readonly LaneRange[]) => Promise<void>;
}

/**
 * Publishes a spool in order of position: one batch in flight, the same batch again after an error,
 * nothing overtakes and nothing is skipped. Between two batches it sends one that somebody has missed.
 * One relay per spool.
 */
export class SpoolRelay {
  private readonly stopped = new AbortController();
  private running: Promise<void> | null = null;
  private drainUntilMs: number | null = null;
  private busy = false;
  private readonly lastSequences = new Map<number, bigint>();
  private readonly resends = new ResendQueue();
  private untilEvents: Promise<void> | null = null;

  constructor(private readonly parts: SpoolRelayParts) {}

  /** Begins publishing; a second call changes nothing. */
  start(): void {
    this.running ??= this.run();
  }

  /**
   * Asks for events to be published once more, as far as they were published before and are still kept.
   * @returns false when too many ranges wait: nothing is queued
   */
  resend(range: LaneRange): boolean {
    return this.resends.add(range);
  }

  /**
   * Publishes what is left until nothing is or the time is over, then ends. What remains is
   * published by the next start of the process.
   * @param drainMs milliseconds, 0 ends after the batch in flight
   */
  async stop(drainMs: number): Promise<void> {
    this.drainUntilMs ??= this.parts.clock.monotonicMs() + drainMs;
    const timer = setTimeout(() => this.stopped.abort(), drainMs);
    if (this.idle()) this.stopped.abort();
    await this.running;
    clearTimeout(timer);
  }

  /** Whether everything appended so far is published and marked. */
  idle(): boolean {
    return !this.busy && this.parts.spool.depth().unpublishedEvents === 0;
  }

  private async run(): Promise<void> {
    const { signal } = this.stopped;
    while (!signal.aborted) {
      await this.untilWork(signal);
      if (signal.aborted) return;
      this.busy = true;
      if (this.parts.spool.depth().unpublishedEvents > 0) {
        await this.linger();
        await this.relayBatch();
      }
      await this.resendBatch();
      this.busy = false;
      if (this.drainUntilMs !== null && this.idle()) return;
    }
  }

  /** One wait for events stays open while resends come and go. */
  private async untilWork(signal: AbortSignal): Promise<void> {
    if (!this.resends.isEmpty) return;
    this.untilEvents ??= this.parts.spool.waitForEvents(signal).then(() => {
      this.untilEvents = null;
    });
    await Promise.race([this.untilEvents, this.resends.waiting()]);
  }

  private async linger(): Promise<void> {
    const lingerMs = this.parts.lingerMs ?? 25;
    if (lingerMs === 0 || this.drainUntilMs !== null) return;
    if (this.parts.spool.depth().unpublishedEvents >= BATCH.maxEvents) return;
    await delay(lingerMs, this.stopped.signal);
  }

  private async relayBatch(): Promise<void> {
    const batch = await this.untilDone(() => this.readBatch());
    if (batch === null || batch.length === 0) return;
    if (!(await this.publish(batch, 'in_turn'))) return;
    for (const event of batch) this.lastSequences.set(event.lane, event.sequence);
    await this.untilDone(() => this.parts.spool.markPublished(batch.at(-1)!.position));
  }

  /** @returns false when the relay was stopped before it succeeded */
  private async publish(
    batch: readonly SpooledEvent[],
    publication: Publication,
  ): Promise<boolean> {
    const { publisher, spool } = this.parts;
    const published = await this.untilDone(async () => {
      failpoint('relay.before_send');
      const sent = publisher.publish(batch, spool.emitterId, publication);
      try {
        failpoint('relay.after_send');
      } finally {
        // Whatever happens here, a second batch goes only when the first has its answer.
        await sent;
      }
      failpoint('relay.after_ack');
      return true;
    });
    return published !== null;
  }

  private async resendBatch(): Promise<void> {
    const range = this.resends.take();
    if (range === null) return;
    const { spool, onMissing } = this.parts;
    const part = await this.untilDone(() => spool.published(range, BATCH));
    if (part === null) return;
    const { events, missing, next } = part;
    if (events.length > 0 && !(await this.publish(events, 'resend'))) return;
    if (missing.length > 0) await this.untilDone(async () => onMissing?.(missing));
    if (next !== null) this.resends.add({ ...range, from: next });
  }

  private async readBatch(): Promise<readonly SpooledEvent[]> {
    const batch = await this.parts.spool.unpublished(BATCH);
    this.assertGrowing(batch);
    return batch;
  }

  /** Repeats a step with growing pauses; null when the relay was stopped meanwhile. */
  private async untilDone<T>(step: () => Promise<T>): Promise<T | null> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await step();
      } catch (error) {
        this.parts.onError?.(error, attempt);
        if (this.stopped.signal.aborted) return null;
        await delay(backoffMs(attempt, BACKOFF, this.unit()), this.stopped.signal);
        if (this.stopped.signal.aborted) return null;
      }
    }
  }

  /** A random number in [0, 1). */
  private unit(): number {
    const bytes = this.parts.random.bytes(4);
    return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0) / 2 ** 32;
  }

  /** Checks on the reading side what the spool promised on the writing side. */
  private assertGrowing(batch: readonly SpooledEvent[]): void {
    const expected = new Map(this.lastSequences);
    for (const { lane, sequence } of batch) {
      const last = expected.get(lane) ?? 0n;
      assert(sequence > last, `lane ${lane} goes from sequence ${last} to ${sequence}`);
      expected.set(lane, sequence);
    }
  }
}
