export * from './event-log-harness.js';
export * from './event-log.contract.js';
