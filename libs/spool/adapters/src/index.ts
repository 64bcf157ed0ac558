export { SqliteSpool, type SqliteSpoolOptions } from './sqlite/sqlite-spool.js';
