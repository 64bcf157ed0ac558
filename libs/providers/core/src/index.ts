export * from './usage-vector.js';
