import type { PoolConfig } from 'pg';

import { roleOf, type SchemaName } from './schemas.js';

/** Largest number of connections of one pool unless the caller says otherwise. */
const DEFAULT_MAX_CONNECTIONS = 10;
/** Longest a connection may take to open, or to come free in the pool, milliseconds. */
const CONNECT_TIMEOUT_MS = 10_000;
/** Longest one statement may run, milliseconds; every statement of ours is far below. */
const STATEMENT_TIMEOUT_MS = 30_000;
/**
 * How much longer than the statement's own bound its answer may take, milliseconds. Beyond it the
 * server is gone without a word (a fail-over, a firewall that forgot the connection).
 */
const ANSWER_GRACE_MS = 2_000;
/** Longest wait for a row or table lock, milliseconds; below the statement's own bound. */
const LOCK_TIMEOUT_MS = 10_000;
/** Longest pause inside a transaction, milliseconds; a hung holder must not block the others. */
const IDLE_IN_TRANSACTION_TIMEOUT_MS = 60_000;
/**
 * How soon the server gives up a client that is gone without a word (power, network), seconds; by
 * itself it takes two hours, and locks that live with a session stay taken until then.
 */
const KEEPALIVE = { idleS: 10, intervalS: 5, count: 3, userTimeoutMs: 25_000 };

/** How connections reach PostgreSQL, as whom, and within which bounds. */
export interface ConnectionOptions {
  /** `postgres://user:password@host:port/database`; query parameters are kept. */
  readonly url: string;
  /**
   * Schema whose role `tollgate_<schema>` every connection takes on; it is the search path as well.
   * Null stays the login role: migrations and tests only.
   */
  readonly schema: SchemaName | null;
  /** Shown in `pg_stat_activity`. */
  readonly applicationName: string;
  /** Upper bound of open connections. @default 10 */
  readonly maxConnections?: number | undefined;
  /** Longest one statement may run, milliseconds. @default 30000 */
  readonly statementTimeoutMs?: number | undefined;
  /** Longest wait for a lock, milliseconds. @default 10000 */
  readonly lockTimeoutMs?: number | undefined;
}

/** The options string that a connection starts with; both values are names of our own. */
function startOptions(options: ConnectionOptions): string {
  const settings = [
    'synchronous_commit=on',
    'timezone=UTC',
    `idle_in_transaction_session_timeout=${IDLE_IN_TRANSACTION_TIMEOUT_MS}`,
    `statement_timeout=${options.statementTimeoutMs ?? STATEMENT_TIMEOUT_MS}`,
    `lock_timeout=${options.lockTimeoutMs ?? LOCK_TIMEOUT_MS}`,
    `tcp_keepalives_idle=${KEEPALIVE.idleS}`,
    `tcp_keepalives_interval=${KEEPALIVE.intervalS}`,
    `tcp_keepalives_count=${KEEPALIVE.count}`,
    `tcp_user_timeout=${KEEPALIVE.userTimeoutMs}`,
  ];
  if (options.schema !== null) {
    settings.push(`role=${roleOf(options.schema)}`, `search_path=${options.schema}`);
  }
  return settings.map((setting) => `-c ${setting}`).join(' ');
}

/** What every pool of the product is opened with; how column values are read is left to the caller. */
export function poolConfig(options: ConnectionOptions): PoolConfig {
  const url = new URL(options.url);
  // The driver lets parameters of the URL win, and without the role a service could read everything.
  const own = url.searchParams.get('options');
  url.searchParams.delete('options');
  return {
    connectionString: url.toString(),
    options: own === null ? startOptions(options) : `${own} ${startOptions(options)}`,
    application_name: options.applicationName,
    max: options.maxConnections ?? DEFAULT_MAX_CONNECTIONS,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    idleTimeoutMillis: 60_000,
    query_timeout: (options.statementTimeoutMs ?? STATEMENT_TIMEOUT_MS) + ANSWER_GRACE_MS,
    keepAlive: true,
  };
}
