export * from './chdb-directory.js';
export * from './chdb-http-front.js';
export * from './eventually.js';
export * from './fixed-clock.js';
export * from './test-postgres.js';
