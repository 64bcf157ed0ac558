export * from './clickhouse-engine.js';
export * from './clickhouse-migrations.js';
export * from './clickhouse-session.js';
export { MAX_INSERT_ROWS, READ_DEADLINE_S, type SessionPurpose } from './clickhouse-settings.js';
