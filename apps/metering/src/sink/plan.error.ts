import { AppError } from '#libs/kernel';

import type { BatchRange } from '../domain/batch-identity.js';
import type { StoredPlan } from './plan-store.js';

/** `metering.log_rewritten`: the records of a plan are no longer in the log as they were. */
export function logRewritten({ topic, partition, first, last }: BatchRange): AppError {
  return stopped(
    'metering.log_rewritten',
    `offsets ${first} to ${last} of ${topic}/${partition} are not what was planned; ` +
      `next_offset ${last + 1n} gives the batch up and asks its emitters anew`,
  );
}

/**
 * `metering.rater_changed`: a finished batch cannot be made again, because its records now give other
 * sums than those that were sealed and told to the budgets.
 * @param ours version of the rating rules of this release
 */
export function raterChanged({ batchId, range, rater }: StoredPlan, ours: number): AppError {
  const { topic, partition, first, last } = range;
  return stopped(
    'metering.rater_changed',
    `batch ${batchId}, offsets ${first} to ${last} of ${topic}/${partition}, was rated by rules ` +
      `${rater} and amounts to something else by rules ${ours}; start the release of rules ${rater}, ` +
      'which makes it again as it was',
  );
}

function stopped(code: string, internalMessage: string): AppError {
  return new AppError({ code, kind: 'internal', publicMessage: 'internal error', internalMessage });
}
