export * from './ephemeral-partition-owner.js';
export * from './event-log.port.js';
