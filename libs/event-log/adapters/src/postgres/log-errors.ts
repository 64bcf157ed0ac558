import { AppError, messageOf } from '#libs/kernel';
import { sqlState } from '#libs/platform/postgres';

/** SQLSTATEs that the functions of schema `event_log` raise. */
const UNKNOWN_TOPIC = 'TL404';
const OUT_OF_RANGE = 'TL416';

/** The error of the port for an error of the database. */
export function fromDatabaseError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  const state = sqlState(error);
  if (state === UNKNOWN_TOPIC) return unknownTopic(messageOf(error));
  if (state === OUT_OF_RANGE) return outOfRange(messageOf(error));
  return new AppError({
    code: 'event_log.unavailable',
    kind: 'unavailable',
    publicMessage: 'the event log is not available',
    internalMessage: `event log: ${messageOf(error)}`,
    retryable: true,
    cause: error,
  });
}

/** A topic or partition that was never provisioned. */
export function unknownTopic(what: string): AppError {
  return new AppError({
    code: 'event_log.unknown_topic',
    kind: 'internal',
    publicMessage: 'internal error',
    internalMessage: `event log: ${what}`,
  });
}

/** An offset outside of what the log holds. */
export function outOfRange(what: string): AppError {
  return new AppError({
    code: 'event_log.out_of_range',
    kind: 'internal',
    publicMessage: 'internal error',
    internalMessage: `event log: ${what}`,
  });
}
