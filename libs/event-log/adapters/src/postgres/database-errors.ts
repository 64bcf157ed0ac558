import { AppError, messageOf } from '#libs/kernel';
import { sqlState } from '#libs/platform/postgres';

import { outOfRange, unavailable, unknownTopic } from '../log-errors.js';

/** SQLSTATEs that the functions of schema `event_log` raise. */
const UNKNOWN_TOPIC = 'TL404';
const OUT_OF_RANGE = 'TL416';

/** The error of the port for an error of the database. */
export function fromDatabaseError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  const state = sqlState(error);
  if (state === UNKNOWN_TOPIC) return unknownTopic(messageOf(error));
  if (state === OUT_OF_RANGE) return outOfRange(messageOf(error));
  return unavailable(error);
}
