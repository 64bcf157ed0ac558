export * from './postgres/index.js';
export * from './price-identity.js';
export * from './price-sheet-files.js';
