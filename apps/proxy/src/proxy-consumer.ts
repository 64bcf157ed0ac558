import type { INestApplication } from '@nestjs/common';

import { connectEventLog, EventLogServer } from '#libs/event-log/adapters';

import { LatestOwner } from './consumers/latest-owner.js';
import { PROXY_LOG } from './consumers/proxy.consumer.js';
import { describeError } from './describe-error.js';
import type { ProxyOptions } from './proxy-options.js';

/**
 * Connects a proxy to the event log: topics `control`, `prices` and `emitter.resend` from their end
 * on, in a group of its own, so that every process hears everything. `app.startAllMicroservices()` starts it.
 * @returns the server; it is closed before the application closes
 */
export function proxyConsumer(app: INestApplication, options: ProxyOptions): EventLogServer {
  const server = new EventLogServer({
    transportId: PROXY_LOG,
    eventLog: options.eventLog,
    group: `proxy.${options.spool.emitterId}`,
    owner: app.get(LatestOwner, { strict: false }),
    runtime: options.runtime,
    onError: (error, { topic, partition }) =>
      options.runtime.logger.error(
        { topic, partition, reason: describeError(error) },
        'a partition cannot go on; it will be tried again',
      ),
  });
  connectEventLog(app, server);
  return server;
}
