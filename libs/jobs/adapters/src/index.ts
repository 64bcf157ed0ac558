export * from './open-jobs.js';
