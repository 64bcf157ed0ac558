import type { FaultCase } from './fault-case.js';
import { CLOCK_FAULTS } from './clock-faults.js';
import { CONNECTION_FAULTS } from './connection-faults.js';
import { CONTROL_FAULTS } from './control-faults.js';
import { ENGINE_KILLS } from './engine-kills.js';
import { METERING_FAULTS } from './metering-faults.js';
import { METERING_KILLS } from './metering-kills.js';
import { PROXY_KILLS } from './proxy-kills.js';
import { SPOOL_FAULTS } from './spool-faults.js';
import { STORE_FAULTS } from './store-faults.js';

/** Every case, in the order in which a run takes them; cases of one service lie together. */
export const FAULT_CASES: readonly FaultCase[] = [
  ...PROXY_KILLS,
  ...METERING_KILLS,
  ...CONNECTION_FAULTS,
  ...SPOOL_FAULTS,
  ...METERING_FAULTS,
  ...STORE_FAULTS,
  ...CONTROL_FAULTS,
  ...CLOCK_FAULTS,
  ...ENGINE_KILLS,
];
