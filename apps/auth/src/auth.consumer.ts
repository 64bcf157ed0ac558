import type { INestApplication } from '@nestjs/common';

import { connectEventLog, EventLogServer, YieldingOwner } from '#libs/event-log/adapters';
import { messageOf } from '#libs/kernel';
import { PartitionPositions } from '#libs/platform/postgres';

import type { AuthOptions } from './auth-options.js';
import { AUTH_LOG } from './consumers/control.consumer.js';

/**
 * Adds auth's consumption of the event log (group `auth`) to an application;
 * `app.startAllMicroservices()` starts it, `close()` of the result stops it before the database closes.
 */
export function authConsumer(app: INestApplication, options: AuthOptions): EventLogServer {
  const { database, eventLog, runtime } = options;
  const owner = new YieldingOwner({
    database,
    positions: new PartitionPositions(),
    eventLog,
    onLostEnd: (at) =>
      runtime.logger.error(at, 'the log has lost its end; budgets are compared instead'),
  });
  const server = new EventLogServer({
    transportId: AUTH_LOG,
    eventLog,
    runtime,
    group: 'auth',
    owner,
    onError: (error, at) =>
      runtime.logger.error({ ...at, reason: messageOf(error) }, 'auth waits to read the log again'),
  });
  connectEventLog(app, server);
  return server;
}
