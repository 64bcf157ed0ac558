import { describe } from '@jest/globals';
import { describeAppendAndRead } from './append-read.contract.js';
import { describeConsumerGroups } from './consumer-group.contract.js';
import type { EventLogHarness } from './event-log-harness.js';

/**
 * Registers what every adapter of the event log promises.
 * @param name of the adapter
 * @param harness gives the harness inside of a test; the adapter's test makes and closes it
 */
export function describeEventLog(name: string, harness: () => EventLogHarness): void {
  describe(`event log: ${name}`, () => {
    describeAppendAndRead(harness);
    describeConsumerGroups(harness);
  });
}
