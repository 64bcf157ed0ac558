export * from './sample-rows.js';
