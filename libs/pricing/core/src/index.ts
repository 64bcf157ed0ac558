export * from './ports/price-directory.port.js';
export * from './price-entry.js';
