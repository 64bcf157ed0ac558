export { SqliteSpool, type SqliteSpoolOptions } from './sqlite/sqlite-spool.js';
export type { SpoolFaults } from './sqlite/writer-protocol.js';
