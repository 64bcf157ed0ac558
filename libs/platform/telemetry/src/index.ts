export * from './fault-injection.js';
export * from './health-checks.js';
export * from './runtime.js';
export type { Logger } from 'pino';
