export * from './spool.port.js';
