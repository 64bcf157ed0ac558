export * from './jobs.contract.js';
