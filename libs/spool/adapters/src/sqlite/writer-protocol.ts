import { AppError, messageOf, type AppErrorKind } from '#libs/kernel';
import type { LostRange, SpoolReadLimit } from '#libs/spool/core';

/** What the writer thread is started with. */
export interface WriterData {
  readonly directory: string;
  readonly ack: 'process' | 'fsync';
  readonly keepAckedMs: number;
  readonly keepAckedBytes: number;
  /** Identity for a fresh file. */
  readonly freshEmitterId: Uint8Array;
  /** Wall clock at the start, milliseconds. */
  readonly nowMs: number;
  /** Failpoints of the thread; a test's only. */
  readonly faults?: SpoolFaults | null;
}

/** Failpoints to arm in the writer thread. */
export interface SpoolFaults {
  /** As `armFailpoints` reads it. */
  readonly spec: string;
  /** The file in which they write down what they do; null = none. */
  readonly record: string | null;
}

/** What the writer found when it opened the file; its first message. */
export interface Opening {
  readonly emitterId: string;
  /** Position of the last event, published or not. */
  readonly lastPosition: number;
  readonly ackedPosition: number;
  /** Last sequence per lane. */
  readonly lastSequences: ReadonlyMap<number, number>;
  readonly nextAttempt: number;
  /** Attempts left open, with their numbers. */
  readonly leftOpen: readonly {
    readonly requestId: string;
    readonly attempt: number;
    readonly number: number;
  }[];
  readonly unpublishedBytes: number;
  readonly sizeBytes: number;
  /** Whether the reserve for a full volume stands. */
  readonly hasReserve: boolean;
  readonly lostRanges: readonly LostRange[];
}

/** An attempt left open, as it crosses threads. */
export interface OpenAttemptRow {
  readonly requestId: string;
  readonly attempt: number;
  readonly lane: number;
  readonly holdPicoUsd: bigint;
  readonly body: Uint8Array;
  readonly tokensOut: number | null;
}

/** An event as it crosses threads. */
export interface SpooledRow {
  readonly position: number;
  readonly lane: number;
  readonly sequence: number;
  readonly eventId: Uint8Array;
  readonly framed: Uint8Array;
}

/** A part of a range, as it crosses threads; counters as numbers. */
export interface PublishedRows {
  readonly rows: readonly SpooledRow[];
  readonly missing: readonly { readonly from: number; readonly to: number }[];
  readonly next: number | null;
}

/** Sizes that only the writer knows. */
export interface FileSizes {
  readonly unpublishedBytes: number;
  readonly sizeBytes: number;
}

/** What one round of housekeeping reports. */
export interface TendResult extends FileSizes {
  /** Whether another slice of trimming is due at once. */
  readonly isTrimDue: boolean;
  readonly hasReserve: boolean;
}

/** The calls of the request thread beside groups, by name: argument and result. */
export interface WriterCalls {
  /** Events behind a position, in order. */
  read: [{ after: number } & SpoolReadLimit, readonly SpooledRow[]];
  /** Published events of a lane. */
  published: [{ lane: number; from: number; to: number } & SpoolReadLimit, PublishedRows];
  /** Notes that everything up to a position is published; durable with the next commit. */
  acknowledge: [{ position: number }, FileSizes];
  /** Housekeeping: trimming, vacuum, the reserve. Every second. */
  tend: [{ nowMs: number }, TendResult];
  openAttempts: [{ numbers: readonly number[] }, readonly OpenAttemptRow[]];
  knownEvents: [{ eventIds: readonly string[] }, readonly string[]];
  keptSince: [{ nowMs: number }, number];
  close: [Record<string, never>, null];
}

/** The name of a call. */
export type WriterCallName = keyof WriterCalls;

/** A call on its way; a group travels as a bare buffer instead. */
export interface WriterCall {
  readonly id: number;
  readonly name: WriterCallName;
  readonly argument: WriterCalls[WriterCallName][0];
}

/** An `AppError` as it crosses threads. */
export interface WireError {
  readonly code: string;
  readonly kind: AppErrorKind;
  readonly publicMessage: string;
  readonly internalMessage: string;
}

/**
 * Messages of the writer. A number alone: the group in flight is durable and this is the position of
 * the last event in the file.
 */
export type WriterMessage =
  | number
  | { readonly kind: 'opened'; readonly opening: Opening }
  | { readonly kind: 'refused'; readonly error: WireError }
  | { readonly kind: 'group-failed'; readonly diskFull: boolean; readonly reason: string }
  | { readonly kind: 'fatal'; readonly reason: string }
  | { readonly kind: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'call-failed'; readonly id: number; readonly error: WireError };

/** Makes an error ready to cross; anything but an `AppError` becomes `spool.unavailable`. */
export function toWireError(error: unknown): WireError {
  if (error instanceof AppError) {
    const { code, kind, publicMessage, message } = error;
    return { code, kind, publicMessage, internalMessage: message };
  }
  return {
    code: 'spool.unavailable',
    kind: 'unavailable',
    publicMessage: 'metering is not available',
    internalMessage: messageOf(error),
  };
}

/** The error on the other side. */
export function fromWireError(error: WireError): AppError {
  return new AppError({ ...error, retryable: error.kind === 'unavailable' });
}

/** The refusal of everything that cannot be made durable now. */
export function unavailable(internalMessage: string): AppError {
  return new AppError({
    code: 'spool.unavailable',
    kind: 'unavailable',
    publicMessage: 'metering is not available',
    internalMessage,
    retryable: true,
  });
}
