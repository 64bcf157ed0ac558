export * from './ports/jobs.port.js';
