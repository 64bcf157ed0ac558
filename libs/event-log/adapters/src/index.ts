export * from './kafka/kafka-event-log.js';
export * from './kafka/provision-kafka-topics.js';
export * from './nest/event-log.server.js';
export * from './open-event-log.js';
export * from './postgres/append-signal.js';
export * from './postgres/postgres-event-log.js';
export * from './postgres/provision-topics.js';
export * from './topic-partitions.js';
