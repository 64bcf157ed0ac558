import type { INestApplication } from '@nestjs/common';

import { TOPICS } from '#libs/events';
import { connectEventLog, EventLogServer, YieldingOwner } from '#libs/event-log/adapters';
import { messageOf } from '#libs/kernel';
import { PartitionPositions } from '#libs/platform/postgres';

import type { BudgetEnforcerOptions } from './budget-enforcer-options.js';
import { BUDGET_LOG } from './consumers/budget-log.controller.js';

/** Rated batches settled in one transaction; a message is at most 512 KiB. */
const RATED_LIMITS = { maxRecords: 32, maxBytes: 4 * 1024 * 1024, lingerMs: () => 0 };

/**
 * Connects the guard's consumers to the application: group `budget-enforcer`, offsets in schema
 * `budget`. `app.startAllMicroservices()` starts them; close the returned server before the
 * application, so that nothing is in hand when the pools go.
 */
export function budgetEnforcerConsumer(
  app: INestApplication,
  options: BudgetEnforcerOptions,
): EventLogServer {
  const { runtime, eventLog, database } = options;
  const server = new EventLogServer({
    transportId: BUDGET_LOG,
    eventLog,
    runtime,
    group: 'budget-enforcer',
    owner: new YieldingOwner({
      database,
      positions: new PartitionPositions(),
      eventLog,
      onLostEnd: (at) =>
        runtime.logger.error(at, 'the log has lost its end; what is missing is asked for'),
    }),
    topicLimits: { [TOPICS.usageRated]: RATED_LIMITS },
    onError: (error, at) =>
      runtime.logger.error({ ...at, reason: messageOf(error) }, 'budget partition will try again'),
  });
  connectEventLog(app, server);
  return server;
}
