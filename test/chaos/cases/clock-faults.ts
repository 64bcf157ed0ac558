import type { Installation } from '../harness/installation.js';
import { sql } from '../harness/probes.js';
import type { FaultCase } from './fault-case.js';
import { outside } from './outside.js';

/** How far clocks are set back, and forward: a record dated further ahead than 5 minutes is set aside. */
const BACK_MS = 600_000;
const AHEAD_MS = 240_000;
/** Times that every clock is set during one cycle. */
const STEPS = 3;

/** Faults of wall clocks; the clocks by which deadlines are counted go on. */
export const CLOCK_FAULTS: readonly FaultCase[] = [
  outside({
    id: 'E9',
    variant: 'every wall clock stepped by another amount, again and again',
    guarantee: 'order by offset, money exact, nothing set aside',
    work: async ({ installation, load, random, struck }) => {
      const before = await lettersOf(installation);
      for (let step = 0; step < STEPS; step += 1) {
        for (const service of installation.cluster.services.keys()) {
          installation.shiftClock(service, random.integer(-BACK_MS, AHEAD_MS));
        }
        await load.untilAnswered(10);
      }
      struck();
      setRight(installation);
      const parked = (await lettersOf(installation)) - before;
      return { hits: STEPS, broken: parked === 0 ? null : `${parked} records were set aside` };
    },
  }),
  outside({
    id: 'E9',
    variant: 'the proxy and metering killed and started with their clocks ten minutes back',
    guarantee: 'recovery neither loses nor releases what was sent',
    // A proxy that starts.
    allows5xx: ['service_unavailable'],
    work: async ({ installation, load, struck }) => {
      for (const service of ['proxy', 'metering']) {
        installation.shiftClock(service, -BACK_MS);
        await load.untilAnswered(5);
        await installation.restart(service);
        await load.untilAnswered(5);
      }
      struck();
      setRight(installation);
    },
  }),
];

/** Puts every clock right. */
function setRight(installation: Installation): void {
  for (const service of installation.cluster.services.keys()) installation.shiftClock(service, 0);
}

/** Records that metering has set aside. */
function lettersOf(installation: Installation): Promise<number> {
  return sql(installation, 'SELECT 1 FROM metering.dead_letter');
}
