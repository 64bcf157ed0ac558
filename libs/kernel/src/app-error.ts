/** What sort of failure an error is; statuses, bodies and log levels are derived from it per dialect. */
export type AppErrorKind =
  | 'invalid'
  | 'unauthenticated'
  | 'forbidden'
  | 'not_found'
  | 'conflict'
  | 'exhausted'
  | 'unavailable'
  | 'internal';

/** The parts an `AppError` is made of. */
export interface AppErrorParts {
  /** `<area>.<reason>`, stable for ever. */
  readonly code: string;
  readonly kind: AppErrorKind;
  /** A sentence that any caller may see. */
  readonly publicMessage: string;
  /** What an operator needs to know; never shown to callers. */
  readonly internalMessage?: string;
  /** Whether the same call may succeed later. @default false */
  readonly retryable?: boolean;
  readonly cause?: unknown;
  /** Facts for the dialect that prints the error, for example the faulty field. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/** A failure with a stable code, a public sentence and an internal one. */
export class AppError extends Error {
  readonly code: string;
  readonly kind: AppErrorKind;
  readonly publicMessage: string;
  readonly retryable: boolean;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(parts: AppErrorParts) {
    super(parts.internalMessage ?? parts.publicMessage, { cause: parts.cause });
    this.name = 'AppError';
    this.code = parts.code;
    this.kind = parts.kind;
    this.publicMessage = parts.publicMessage;
    this.retryable = parts.retryable ?? false;
    this.details = parts.details ?? {};
  }
}

/**
 * Stops the current step when an invariant of our own does not hold.
 * @throws AppError `internal.assertion`; never caught to be logged away
 */
export function assert(condition: unknown, message: string): asserts condition {
  if (condition) return;
  throw new AppError({
    code: 'internal.assertion',
    kind: 'internal',
    publicMessage: 'internal error',
    internalMessage: `assertion failed: ${message}`,
  });
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
