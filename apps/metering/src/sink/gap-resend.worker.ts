import { messageOf, PeriodicWorker, type Clock } from '#libs/kernel';
import type { Database, OutboxWriter } from '#libs/platform/postgres';
import type { Logger } from '#libs/platform/telemetry';

import { resendRequest } from '../domain/emitter-range.js';
import { OWN_EMITTER_ID } from '../domain/record-class.js';
import type { MeteringMetrics } from './metering-metrics.js';
import type { OwnRecords } from './own-records.js';
import type { StreamStore } from './stream-store.js';

/** What the worker works with. */
export interface GapResendParts {
  readonly database: Database;
  readonly outbox: OutboxWriter;
  readonly streams: StreamStore;
  /** What metering appended itself; nobody else can answer for it. */
  readonly own: OwnRecords;
  readonly clock: Clock;
  readonly metrics: MeteringMetrics;
  readonly logger: Logger;
  /** Pause between two passes, milliseconds. @default 5000 */
  readonly everyMs?: number;
}

/** Ranges asked for per pass: at most so many messages every 5 s, whatever is open. */
const MOST_PER_PASS = 100;

/**
 * Asks for gaps that stay open, again and again with growing pauses, until they are filled or given
 * up as lost. Looks at what is open now, so nothing depends on an earlier message having arrived.
 */
export class GapResendWorker extends PeriodicWorker {
  constructor(private readonly parts: GapResendParts) {
    super();
  }

  /** Asks for what is due, and sends own records again. @returns how many ranges were due */
  async pass(): Promise<number> {
    const { database, outbox, streams, own, clock, metrics } = this.parts;
    const due = await database.transaction(async (tx) => {
      const ranges = await streams.takeDue(tx, MOST_PER_PASS);
      const nowMs = clock.nowMs();
      const ofOthers = ranges.filter(({ emitterId }) => emitterId !== OWN_EMITTER_ID);
      await outbox.write(
        tx,
        ofOthers.map((range) => resendRequest(range, range.asks, nowMs)),
      );
      const ours = ranges.filter(({ emitterId }) => emitterId === OWN_EMITTER_ID);
      await own.tellLost(tx, ours);
      return ranges;
    });
    await own.sendAgain();
    metrics.resendsRepeated.inc(due.filter(({ asks }) => asks > 1).length);
    metrics.openGaps.set(await streams.openCount(database));
    return due.length;
  }

  protected failed(error: unknown): void {
    // The same gaps are found by the next pass.
    this.parts.logger.warn({ reason: messageOf(error) }, 'gaps could not be asked for');
  }

  protected pauseMs(): number {
    return this.parts.everyMs ?? 5_000;
  }
}
