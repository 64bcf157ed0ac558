export type { AttemptBilled, AttemptReceived, BillLogLine } from './bill-log.js';
export { startSimulator, type Simulator, type SimulatorOptions } from './simulator.js';
