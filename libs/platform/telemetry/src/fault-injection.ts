import { armFailpoints, SystemClock, type Clock } from '#libs/kernel';

import { ShiftableClock } from './shiftable-clock.js';

/** The variables by which a test puts faults into a process. */
export interface FaultVariables {
  readonly NODE_ENV?: string | undefined;
  /** As `armFailpoints` reads it. */
  readonly FAILPOINTS?: string | undefined;
  /** The file in which failpoints write down what they do. */
  readonly FAILPOINTS_RECORD?: string | undefined;
  /** The file with the offset of the wall clock, milliseconds. */
  readonly TEST_CLOCK_FILE?: string | undefined;
}

/**
 * Arms the failpoints and gives the clock that the environment asks for. Without `NODE_ENV=test` it
 * arms nothing and gives the clock of the machine.
 * @throws Error that names what it does not understand in `FAILPOINTS`
 */
export function injectFaults(variables: FaultVariables): Clock {
  if (variables.NODE_ENV !== 'test') return new SystemClock();
  armFailpoints(variables.FAILPOINTS ?? '', variables.FAILPOINTS_RECORD ?? null);
  const file = variables.TEST_CLOCK_FILE;
  return file === undefined ? new SystemClock() : new ShiftableClock(file);
}
