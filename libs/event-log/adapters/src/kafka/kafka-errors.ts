import { AppError, messageOf } from '#libs/kernel';

import { outOfRange, unavailable, unknownTopic } from '../log-errors.js';

/** The parts of the client's errors that decisions rest on. */
interface ClientError {
  readonly name?: unknown;
  readonly type?: unknown;
  readonly cause?: unknown;
}

/**
 * Every name and protocol error type of an error and of what it wraps: the client puts most errors
 * into one that says that its retries are used up.
 */
function marksOf(error: unknown): ReadonlySet<string> {
  const marks = new Set<string>();
  let current: unknown = error;
  for (let depth = 0; depth < 5 && typeof current === 'object' && current !== null; depth += 1) {
    const { name, type, cause } = current as ClientError;
    if (typeof name === 'string') marks.add(name);
    if (typeof type === 'string') marks.add(type);
    current = cause;
  }
  return marks;
}

/** Whether the error, or one that it wraps, is of one of these names or protocol types. */
export function isKafkaError(error: unknown, ...marks: readonly string[]): boolean {
  const found = marksOf(error);
  return marks.some((mark) => found.has(mark));
}

/** The error of the port for an error of the client. */
export function fromKafkaError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  if (isKafkaError(error, 'OFFSET_OUT_OF_RANGE')) return outOfRange(messageOf(error));
  if (isKafkaError(error, 'UNKNOWN_TOPIC_OR_PARTITION', 'INVALID_TOPIC_EXCEPTION')) {
    return unknownTopic(messageOf(error));
  }
  return unavailable(error);
}
