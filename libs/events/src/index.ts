export * from './control-events.js';
export * from './emitter-events.js';
export * from './envelope.js';
export * from './event-id.js';
export * from './request-events.js';
export * from './topics.js';
export * from './usage-rated.event.js';
