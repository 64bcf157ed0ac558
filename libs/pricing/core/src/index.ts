export * from './inheritance.js';
export * from './ports/price-directory.port.js';
export * from './price-entry.js';
export * from './price-index.js';
export * from './rate.js';
export * from './rate-sheet.js';
export * from './service-tier.js';
export * from './upper-bound.js';
