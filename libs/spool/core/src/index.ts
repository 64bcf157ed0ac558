export * from './domain/spool-relay.js';
export * from './ports/event-publisher.port.js';
export * from './ports/spool.port.js';
