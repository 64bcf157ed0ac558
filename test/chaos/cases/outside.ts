import type { LoadProfile } from '../load/chaos-load.js';
import type { FaultCase, FaultContext, Injected } from './fault-case.js';

/** While PostgreSQL is away nothing is admitted for a budgeted key and unknown keys are not found. */
export const STORE_AWAY = ['budget_unavailable', 'service_unavailable'];

/** Answers after the fault, so that what was hurt has worked again. */
const ANSWERS_AFTER = 10;

/** What a case without failpoints is made of. */
type Plain = Pick<FaultCase, 'id' | 'variant' | 'guarantee'> & {
  readonly allows5xx?: readonly string[];
  readonly profile?: LoadProfile;
  readonly isSlow?: boolean;
  readonly work: (context: FaultContext) => Promise<Injected | void>;
};

/** A case that acts from outside, on processes or connections. */
export function outside(plain: Plain): FaultCase {
  const { id, variant, guarantee, allows5xx = [], profile = 'mixed', isSlow = false, work } = plain;
  const inject = async (context: FaultContext): Promise<Injected> => {
    await context.load.untilAnswered(context.random.integer(3, 25));
    const injected = (await work(context)) ?? { hits: 1 };
    await context.load.untilAnswered(ANSWERS_AFTER);
    return injected;
  };
  return {
    id,
    variant,
    guarantee,
    failpoint: null,
    allows5xx,
    profile,
    isSlow,
    arming: null,
    inject,
  };
}
