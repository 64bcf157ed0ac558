import type { INestApplication } from '@nestjs/common';

import { connectEventLog, EventLogServer, type BatchLimits } from '#libs/event-log/adapters';
import { messageOf } from '#libs/kernel';

import { METERING_LOG, USAGE_LINGER } from './consumers/usage.consumer.js';
import type { MeteringOptions } from './metering-options.js';
import { MeteringOwner } from './sink/metering-owner.js';
import type { UsageSink } from './sink/open-sink.js';

/**
 * Bytes of one delivery: about two inserts, and what bounds the memory of a partition that waits;
 * with 64 KiB records a delivery still has 256 of them.
 */
const MAX_BATCH_BYTES = 16 * 1024 * 1024;
/** A delivery of a partition far behind is one batch. */
const MAX_BATCH_RECORDS = 50_000;

/**
 * Connects metering to the event log: group `metering` over the terminal records and the refusals.
 * `app.startAllMicroservices()` starts it.
 * @returns the server; it is closed before the application closes what the handlers use
 */
export function meteringConsumer(app: INestApplication, options: MeteringOptions): EventLogServer {
  const limits: BatchLimits = {
    maxRecords: MAX_BATCH_RECORDS,
    maxBytes: MAX_BATCH_BYTES,
    lingerMs: app.get<UsageSink['lingerMs']>(USAGE_LINGER, { strict: false }),
  };
  const server = new EventLogServer({
    transportId: METERING_LOG,
    eventLog: options.eventLog,
    group: 'metering',
    owner: app.get(MeteringOwner, { strict: false }),
    limits,
    runtime: options.runtime,
    onError: (error, { topic, partition }) =>
      options.runtime.logger.error(
        { topic, partition, reason: messageOf(error) },
        'a partition cannot go on; it will be tried again',
      ),
  });
  connectEventLog(app, server);
  return server;
}
