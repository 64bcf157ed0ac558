export * from './nest/event-log.server.js';
export * from './postgres/append-signal.js';
export * from './postgres/log-retention.worker.js';
export * from './postgres/postgres-event-log.js';
export * from './postgres/provision-topics.js';
