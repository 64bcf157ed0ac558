export type { SpoolLogger, SpoolMetrics } from './sqlite/group-committer.js';
export { SqliteSpool, type SqliteSpoolOptions } from './sqlite/sqlite-spool.js';
