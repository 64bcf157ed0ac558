import { AppError, messageOf } from '#libs/kernel';

import { loginRefused, outOfRange, unavailable, unknownTopic } from '../log-errors.js';

/** The parts of the clients' errors that decisions rest on. */
interface ClientError {
  readonly name?: unknown;
  /** The protocol's name of the error; the two clients call it differently. */
  readonly type?: unknown;
  readonly apiId?: unknown;
  readonly cause?: unknown;
  readonly errors?: unknown;
}

/** How deep errors are wrapped at most. */
const MAX_DEPTH = 6;

/**
 * Every name and protocol error type of an error and of what it wraps: the clients put most errors
 * into one that says that its retries are used up.
 */
function marksOf(error: unknown, marks = new Set<string>(), depth = 0): ReadonlySet<string> {
  if (typeof error !== 'object' || error === null || depth > MAX_DEPTH) return marks;
  const { name, type, apiId, cause, errors } = error as ClientError;
  for (const mark of [name, type, apiId]) if (typeof mark === 'string') marks.add(mark);
  marksOf(cause, marks, depth + 1);
  if (Array.isArray(errors)) for (const one of errors) marksOf(one, marks, depth + 1);
  return marks;
}

/** Whether the error, or one that it wraps, is of one of these names or protocol types. */
export function isKafkaError(error: unknown, ...marks: readonly string[]): boolean {
  const found = marksOf(error);
  return marks.some((mark) => found.has(mark));
}

/** Whether a request got no answer at all, so that it says nothing of what was asked. */
export function isUnanswered(error: unknown): boolean {
  return isKafkaError(
    error,
    'KafkaJSConnectionError',
    'KafkaJSConnectionClosedError',
    'KafkaJSRequestTimeoutError',
    'KafkaJSBrokerNotFound',
    'KafkaJSLockTimeout',
  );
}

/** The error of the port for an error of the client. */
export function fromKafkaError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  if (isKafkaError(error, 'OFFSET_OUT_OF_RANGE')) return outOfRange(messageOf(error));
  if (isKafkaError(error, 'UNKNOWN_TOPIC_OR_PARTITION', 'INVALID_TOPIC_EXCEPTION')) {
    return unknownTopic(messageOf(error));
  }
  if (isKafkaError(error, 'SASL_AUTHENTICATION_FAILED', 'KafkaJSSASLAuthenticationError')) {
    return loginRefused(error);
  }
  return unavailable(error);
}
