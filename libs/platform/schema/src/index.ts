export * from './additive-change.js';
export * from './schema-set.js';
