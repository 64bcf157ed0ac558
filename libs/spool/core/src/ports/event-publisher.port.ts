import type { SpooledEvent } from './spool.port.js';

/** Why events are published: in their turn, or once more because somebody missed them. */
export type Publication = 'in_turn' | 'resend';

/** Where a spool's events go: the event log, behind the lanes of the emitter. */
export abstract class EventPublisher {
  /**
   * Resolves when all events are durable at the destination, in the given order per lane. After a
   * rejection the very same events come again, so a repeat of (emitter, lane, sequence) must be
   * harmless there.
   */
  abstract publish(
    events: readonly SpooledEvent[],
    emitterId: string,
    publication: Publication,
  ): Promise<void>;
}
