import { delay } from '#libs/kernel';

import { LOG_PARTITIONS } from '../harness/installation.js';
import { copyOf, newest, redis, whileLocked, withLog } from '../harness/probes.js';
import type { FaultCase, FaultContext, Injected } from './fault-case.js';
import { outside } from './outside.js';

/** Faults of budgets and of messages between services. */
export const CONTROL_FAULTS: readonly FaultCase[] = [
  outside({
    id: 'E1',
    variant: 'FLUSHALL of Redis',
    guarantee: 'no overspend, no revocation lost',
    work: async ({ installation, struck }) => {
      for (let times = 0; times < 5; times += 1) {
        await redis(installation, 'FLUSHALL');
        await delay(100);
      }
      struck();
    },
  }),
  outside({
    id: 'E5',
    variant: 'every budget account locked',
    guarantee: 'admissions fail closed, nothing is done by half',
    allows5xx: ['budget_unavailable', 'service_unavailable'],
    work: async ({ installation, struck }) => {
      // In the order in which the product locks them.
      const all = 'SELECT 1 FROM budget.budget_account ORDER BY budget_id, epoch FOR UPDATE';
      await whileLocked(installation, all, () => delay(1_500));
      struck();
    },
  }),
  outside({
    id: 'E6',
    variant: 'old control messages once more',
    guarantee: 'one change of state, the newest stands',
    work: (context) => repeat(context, 'control', [0]),
  }),
  outside({
    id: 'H3',
    variant: 'rated messages twice and out of order',
    guarantee: 'applied once, in order',
    work: (context) =>
      repeat(
        context,
        'usage.rated',
        Array.from({ length: LOG_PARTITIONS }, (_, partition) => partition),
      ),
  }),
  outside({
    id: 'B2',
    variant: 'the provider gives no usage',
    guarantee: 'each attempt is estimated, labelled and charged at most at its hold',
    profile: 'no_usage',
    work: async ({ load, struck }) => {
      await load.untilAnswered(30);
      struck();
    },
  }),
  outside({
    id: 'C7',
    variant: 'a request that makes a record too large',
    guarantee: 'refused or cut at the emitter; what comes after goes through',
    work: oversize,
  }),
];

/** Appends the newest records of a topic again, newest first. */
async function repeat(
  { installation, struck }: FaultContext,
  topic: string,
  partitions: readonly number[],
): Promise<Injected> {
  const repeated = await withLog(installation, async (log) => {
    let count = 0;
    for (const partition of partitions) {
      const records = await newest(log, topic, partition, 30);
      const copies = records.toReversed().map(copyOf);
      for (const copy of copies) await log.append([copy]);
      count += copies.length;
    }
    return count;
  });
  struck();
  return { hits: repeated };
}

async function oversize({ installation, struck }: FaultContext): Promise<Injected> {
  const response = await fetch(`${installation.cluster.proxyUrl}/v1/chat/completions`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${installation.keys[0]}`,
      'content-type': 'application/json',
    },
    body: JSON.stringify({ model: 'm'.repeat(400_000), messages: [] }),
  });
  struck();
  const isRefused = response.status >= 400 && response.status < 500;
  return { hits: 1, broken: isRefused ? null : `it was answered with ${response.status}` };
}
