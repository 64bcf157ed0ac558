export * from './cluster-api.js';
export * from './cluster-catalog.js';
export * from './cluster-disk.js';
export * from './cluster-postgres.js';
export * from './cluster-process.js';
export * from './test-cluster.js';
