export * from './app-error.js';
export * from './clock.js';
export * from './ids.js';
export * from './money.js';
export * from './random.js';
export * from './result.js';
export * from './wait.js';
export * from './node-version.js';
