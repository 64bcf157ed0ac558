export * from './clickhouse-engine.js';
export * from './clickhouse-migrations.js';
export * from './clickhouse-session.js';
export * from './needed-clickhouse.js';
export type { SessionPurpose } from './clickhouse-settings.js';
