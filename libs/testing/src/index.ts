export * from './chdb-directory.js';
