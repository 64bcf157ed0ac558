import type { PicoUsd } from '#libs/kernel';

/** Largest body of an intent or an event, bytes: what the event log and the ledger accept. */
export const MAX_RECORD_BYTES = 65_536;

/** The journal entry of an attempt about to be sent; durable before the first upstream byte. */
export interface AttemptIntent {
  readonly requestId: string;
  /** From 1. */
  readonly attempt: number;
  readonly lane: number;
  readonly holdPicoUsd: PicoUsd;
  /**
   * JSON of everything the terminal record needs should the process die: a complete
   * `RequestCompletedV1` with the figures of an unknown outcome. At most `MAX_RECORD_BYTES`.
   */
  readonly body: Uint8Array;
}

/** An event ready to be published. */
export interface SpoolEvent {
  readonly lane: number;
  readonly eventId: string;
  /** JSON of the event's data, at most `MAX_RECORD_BYTES`; not changed by the caller afterwards. */
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
export interface SpooledEvent extends Omit<SpoolEvent, 'closes'> {
  /** Position in the file, growing. */
  readonly position: number;
  /** From 1 without gaps per lane. */
  readonly sequence: bigint;
}

/** A range of sequences of one lane; both ends inclusive. */
export interface LaneRange {
  readonly lane: number;
  readonly from: bigint;
  readonly to: bigint;
}

/** A range of sequences that a damaged file could not give back. */
export type LostRange = LaneRange;

/** Bounds of one read; at least one event is returned when there is one, whatever its size. */
export interface SpoolReadLimit {
  readonly maxEvents: number;
  readonly maxBytes: number;
}

/** The first part of a range that was published before. */
export interface PublishedPart {
  /** Those still kept and sound, by growing sequence. */
  readonly events: readonly SpooledEvent[];
  /** Sequences among them that are given up or unreadable, growing. */
  readonly missing: readonly LaneRange[];
  /** Where to read on; null when the range, as far as it is published, has been read. */
  readonly next: bigint | null;
}

/** Whether attempts are taken in this state: a slow disk costs time, not requests. */
export function admitsAttempts(health: SpoolHealth): boolean {
  return health === 'ok' || health === 'stalled';
}

/**
 * Whether a process is ready for requests: `ok`, or why not. `stalled`: a commit takes longer than 2 s;
 * `disk_full`: the volume is full; `retrying`: an append has failed and is tried again every second;
 * `backlog_full`: unpublished events occupy the cap; `failed`: the writer is gone; `closed`.
 */
export type SpoolHealth =
  | 'ok'
  | 'stalled'
  | 'disk_full'
  | 'retrying'
  | 'backlog_full'
  | 'failed'
  | 'closed';

/** How much a spool holds. */
export interface SpoolDepth {
  readonly unpublishedEvents: number;
  /** Of the events that wait for publication. */
  readonly unpublishedBytes: number;
  /** At so many unpublished bytes no further attempt is admitted. */
  readonly capBytes: number;
  /** Occupied by the whole file. */
  readonly sizeBytes: number;
}

/**
 * The durable outbox of one proxy. Writes are grouped; each promise resolves when its group is
 * committed as the acknowledgement mode demands. One process opens a spool at a time.
 */
export abstract class Spool {
  /** 32 hex digits; survives restarts of the process. */
  abstract readonly emitterId: string;
  /** Sequences that a damaged file could not give back at this start; they are to be reported lost. */
  abstract readonly lostRanges: readonly LostRange[];
  /**
   * Resolves when the intent is durable; the attempt is then open until `append` closes it.
   * @throws AppError `spool.unavailable` when it could not be stored (nothing may be sent); with `health()`
   *   `failed` it may be stored all the same, and the next start then lists it as open,
   *   `spool.already_open` for an attempt that is open, `spool.record_too_large` above 64 KiB
   */
  abstract open(intent: AttemptIntent): Promise<void>;
  /** Notes output delivered so far; never awaited, the last mark may be lost with the process. */
  abstract progress(requestId: string, attempt: number, tokensOut: number): void;
  /**
   * Resolves when the event is durable and its attempt, if any, is closed in the same commit. A
   * failed commit is retried every second for as long as the process lives; meanwhile the promise is
   * pending and `health()` says so.
   * @throws AppError `spool.not_open` when the attempt it closes is not durably open (an attempt ends
   *   once), `spool.record_too_large` above 64 KiB, `spool.unavailable` for an event that closes
   *   nothing while the queue is full, and for every event once the writer is gone
   */
  abstract append(event: SpoolEvent): Promise<void>;
  /** Attempts a former process left open, oldest first; empty after they were closed by `append`. */
  abstract openAttempts(): Promise<readonly OpenAttempt[]>;
  /**
   * Which of these events the file holds, published or not (published ones for as long as they are
   * kept). Slow (scans the file); for recovery only.
   */
  abstract knownEvents(eventIds: readonly string[]): Promise<ReadonlySet<string>>;
  /**
   * From when on, by this machine's clock (milliseconds UTC), every event is still in the file: what
   * `knownEvents` does not know of an attempt begun later has never been. 0 when none was ever deleted.
   */
  abstract keptSince(): Promise<number>;
  /** Unpublished events in order of position. */
  abstract unpublished(limit: SpoolReadLimit): Promise<readonly SpooledEvent[]>;
  /**
   * Reads published events once more, for whoever missed them. What is not yet published, or was never
   * assigned, is neither in the events nor missing: it comes by itself.
   */
  abstract published(range: LaneRange, limit: SpoolReadLimit): Promise<PublishedPart>;
  /** Marks everything up to and including the position as published. */
  abstract markPublished(position: number): Promise<void>;
  /** Resolves when something unpublished may be there, at once or after the next append. */
  abstract waitForEvents(signal: AbortSignal): Promise<void>;
  /** How much waits for publication, and how much may. */
  abstract depth(): SpoolDepth;
  /** Whether new attempts can be admitted; for readiness. */
  abstract health(): SpoolHealth;
  /** Commits what is queued and closes the file. */
  abstract close(): Promise<void>;
}
