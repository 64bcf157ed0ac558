import type { FaultCase } from './fault-case.js';
import { ENGINE_KILLS } from './engine-kills.js';
import { METERING_KILLS } from './metering-kills.js';
import { PROXY_KILLS } from './proxy-kills.js';

/** Every case, in the order in which a run takes them; cases of one service lie together. */
export const FAULT_CASES: readonly FaultCase[] = [
  ...PROXY_KILLS,
  ...METERING_KILLS,
  ...ENGINE_KILLS,
];
