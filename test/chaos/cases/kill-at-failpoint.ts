import type { LoadProfile } from '../load/chaos-load.js';
import type { FaultCase, FaultContext, Injected } from './fault-case.js';

/** A kill at a named place. */
export interface KillAt {
  readonly id: string;
  readonly guarantee: string;
  readonly service: string;
  readonly failpoint: string;
  /** The kill comes at a hit of 1..mostHits, chosen anew each time. */
  readonly mostHits: number;
  /** @default mixed */
  readonly profile?: LoadProfile;
  readonly allows5xx?: readonly string[];
}

/** Longest wait for the place to be reached, milliseconds. */
const HIT_MS = 60_000;

/** Answers after kills that came before there was load. */
const ANSWERS_AFTER = 10;

/** A case that kills a service with SIGKILL at a failpoint, once per cycle. */
export function killAt(kill: KillAt): FaultCase {
  const { id, guarantee, service, failpoint, mostHits, allows5xx = [] } = kill;
  return {
    id,
    variant: failpoint,
    guarantee,
    failpoint,
    allows5xx,
    profile: kill.profile ?? 'mixed',
    arming: (random) => ({
      service,
      failpoints: `${failpoint}=kill9@${random.integer(1, mostHits)}`,
    }),
    inject: (context) => inject(kill, context),
  };
}

async function inject(kill: KillAt, context: FaultContext): Promise<Injected> {
  const { installation, load } = context;
  if (!installation.isArmed(kill.service) && installation.hasHit(kill.service, kill.failpoint)) {
    // What it found at its starts brought it to the place before it served, each time it was tried.
    context.struck();
    await load.untilAnswered(ANSWERS_AFTER);
    return { hits: 1 };
  }
  const isDead = await installation.untilDead(kill.service, HIT_MS);
  context.struck();
  await load.stop();
  if (!isDead) return { hits: 0 };
  // What the process did after its recovery is judged with the next cycle.
  await installation.tryStart(kill.service, context.nextFailpoints(kill.service));
  return { hits: 1 };
}
