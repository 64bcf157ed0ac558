export * from './usage-harness.js';
export * from './usage-reader.contract.js';
export * from './usage-store.contract.js';
