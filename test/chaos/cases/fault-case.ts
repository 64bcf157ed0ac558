import type { Installation } from '../harness/installation.js';
import type { SeededRandom } from '../harness/seeded-random.js';
import type { ChaosLoad, LoadProfile } from '../load/chaos-load.js';

/** What a case works with during one cycle. */
export interface FaultContext {
  readonly installation: Installation;
  readonly load: ChaosLoad;
  readonly random: SeededRandom;
  /** Arms the restarted service for the cycle after this one, which saves a start. */
  readonly nextFailpoints: (service: string) => string;
  /** Starts the clock of the recovery. */
  readonly struck: () => void;
}

/** What became of an injection. */
export interface Injected {
  /** How often the fault was really put in. */
  readonly hits: number;
  /** What the case itself saw broken; null = nothing. */
  readonly broken?: string | null;
  /** Why it could not be put in on this machine. */
  readonly skipped?: string;
}

/** One fault of the table, in one form. */
export interface FaultCase {
  /** Id in the fault table of docs/reliability.md. */
  readonly id: string;
  /** Tells the forms of one fault apart. */
  readonly variant: string;
  /** What holds afterwards, in one line. */
  readonly guarantee: string;
  /** Failpoint whose hit proves the injection; null when it is not done by one. */
  readonly failpoint: string | null;
  /** Codes of 5xx answers that the documented policy gives during this fault. */
  readonly allows5xx: readonly string[];
  /** Whether it takes too long for the suite of every day. */
  readonly isSlow?: boolean;
  /** What the load sends. */
  readonly profile: LoadProfile;
  /** Failpoints to arm a service with before the cycle; null = none. */
  readonly arming: ((random: SeededRandom) => { service: string; failpoints: string }) | null;
  /** Puts the fault in while the load runs, and takes it away again. */
  inject(context: FaultContext): Promise<Injected>;
}
