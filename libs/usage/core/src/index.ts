export * from './domain/batch-digest.js';
export * from './domain/rollup-cell.js';
export * from './ports/ledger-upkeep.port.js';
export * from './ports/metering-progress.port.js';
export * from './ports/rated-replay.port.js';
export * from './ports/usage-reader.port.js';
export * from './ports/usage-store.port.js';
export * from './usage-row.js';
