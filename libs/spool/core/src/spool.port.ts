import type { PicoUsd } from '#libs/kernel';

/** The journal entry of an attempt about to be sent; durable before the first upstream byte. */
export interface AttemptIntent {
  readonly requestId: string;
  /** From 1. */
  readonly attempt: number;
  readonly lane: number;
  readonly holdPicoUsd: PicoUsd;
  /**
   * JSON of everything the terminal record needs should the process die: a complete
   * `RequestCompletedV1` with the figures of an unknown outcome.
   */
  readonly body: Uint8Array;
}

/** An event ready to be published. */
export interface SpoolEvent {
  readonly lane: number;
  readonly eventId: string;
  /** JSON of the event's data. */
  readonly body: Uint8Array;
  /** `ce_*` headers but for emitter, lane and sequence, which the spool assigns. */
  readonly headers: Readonly<Record<string, string>>;
  /** The attempt this event ends; null for events without one (a refusal). */
  readonly closes: { readonly requestId: string; readonly attempt: number } | null;
}

/** An attempt that a crash left open. */
export interface OpenAttempt {
  readonly requestId: string;
  readonly attempt: number;
  readonly lane: number;
  readonly holdPicoUsd: PicoUsd;
  readonly body: Uint8Array;
  /** The last progress mark; null when no output was seen. */
  readonly progress: { readonly tokensOut: number } | null;
}

/** A spooled event with its place in the emitter's stream. */
export interface SpooledEvent extends SpoolEvent {
  /** Position in the file, growing. */
  readonly position: number;
  /** From 1 without gaps per lane. */
  readonly sequence: bigint;
}

/**
 * The durable outbox of one proxy. Writes are grouped; each promise resolves when its group is
 * committed as the acknowledgement mode demands. One process opens a spool at a time.
 */
export abstract class Spool {
  /** 32 hex digits; survives restarts of the process. */
  abstract readonly emitterId: string;
  /** Resolves when the intent is durable; rejects with `spool.unavailable` and then nothing is sent. */
  abstract open(intent: AttemptIntent): Promise<void>;
  /** Notes output delivered so far; never awaited, lost at most with the process. */
  abstract progress(requestId: string, attempt: number, tokensOut: number): void;
  /** Resolves when the event is durable and its attempt, if any, is closed in the same commit. */
  abstract append(event: SpoolEvent): Promise<void>;
  /** Attempts a former process left open, oldest first; empty after they were closed by `append`. */
  abstract openAttempts(): Promise<readonly OpenAttempt[]>;
  /**
   * Which of these events the file holds, published or not (published ones for as long as they are
   * kept). Slow (scans the file); for recovery only.
   */
  abstract knownEvents(eventIds: readonly string[]): Promise<ReadonlySet<string>>;
  /** Unpublished events in order of position. */
  abstract unpublished(limit: {
    readonly maxEvents: number;
    readonly maxBytes: number;
  }): Promise<readonly SpooledEvent[]>;
  /** Marks everything up to and including the position as published. */
  abstract markPublished(position: number): Promise<void>;
  /** Resolves when something unpublished may be there, at once or after the next append. */
  abstract waitForEvents(signal: AbortSignal): Promise<void>;
  /** Events that wait for publication, and bytes the file occupies. */
  abstract depth(): { readonly unpublishedEvents: number; readonly sizeBytes: number };
  /** Commits what is queued and closes the file. */
  abstract close(): Promise<void>;
}
