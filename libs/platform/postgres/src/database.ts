import { Pool, type PoolClient, type QueryConfig, type QueryResultRow } from 'pg';
import { AppError, messageOf } from '#libs/kernel';
import { columnTypes } from './column-types.js';
import { poolConfig, type ConnectionOptions } from './pool-config.js';

/** How a service reaches PostgreSQL. */
export interface DatabaseOptions extends ConnectionOptions {
  /** Told when a connection that nobody uses breaks; the pool opens another when it needs one. */
  readonly onIdleError?: (error: Error) => void;
}

/** Rows of one statement and how many rows it returned or changed. */
export interface Rows<Row> {
  readonly rows: Row[];
  readonly rowCount: number;
}

/**
 * Anything that runs one statement: a database (each statement its own transaction), a transaction
 * or a session. Column values: `int8` is a `bigint`, `numeric`, `date` and `timestamp` are text,
 * `timestamptz` is a `Date`, `bytea` is a `Buffer`, `json` is parsed; parameters may be `bigint`.
 */
export interface Queryable {
  /**
   * Runs one statement with `$1`-style parameters.
   * @param statement text, or a named statement, which each connection prepares once
   * @throws DatabaseError of `pg`; `sqlState` reads its code
   */
  query<Row extends QueryResultRow = QueryResultRow>(
    statement: string | NamedStatement,
    values?: readonly unknown[],
  ): Promise<Rows<Row>>;
}

/** A statement that each connection parses once; the name is unique per text in the process. */
export interface NamedStatement {
  readonly name: string;
  readonly text: string;
}

/** An open transaction. */
export interface Transaction extends Queryable {
  /** Runs after a successful commit, never after a rollback; it must not throw. */
  afterCommit(action: () => void): void;
}

/** A connection held for as long as its holder wishes, for locks that live with a session. */
export interface Session extends Queryable {
  /** Aborted when the connection is lost or does not answer; no lock of the session can be relied on. */
  readonly lost: AbortSignal;
  /** Closes the connection, which frees all it held. Idempotent. */
  close(): Promise<void>;
}

async function run<Row extends QueryResultRow>(
  target: Pool | PoolClient,
  statement: string | NamedStatement,
  values: readonly unknown[] = [],
): Promise<Rows<Row>> {
  const config: QueryConfig =
    typeof statement === 'string'
      ? { text: statement, values: [...values] }
      : { ...statement, values: [...values] };
  const result = await target.query<Row>(config);
  return { rows: result.rows, rowCount: result.rowCount ?? 0 };
}

/**
 * A bounded pool of PostgreSQL connections that act as one service's role. It retries nothing:
 * whether a failed statement may run again is the caller's knowledge.
 */
export class Database implements Queryable {
  private readonly pool: Pool;
  private closing: Promise<void> | undefined;

  constructor(options: DatabaseOptions) {
    this.pool = new Pool({ ...poolConfig(options), types: columnTypes });
    surviveLostClients(this.pool);
    const onIdleError = options.onIdleError;
    // The driver's end does not wait for the server's side; what breaks after it was to be closed.
    this.pool.on('error', (error) => {
      if (this.closing === undefined) onIdleError?.(error);
    });
  }

  query<Row extends QueryResultRow = QueryResultRow>(
    statement: string | NamedStatement,
    values?: readonly unknown[],
  ): Promise<Rows<Row>> {
    return run<Row>(this.pool, statement, values);
  }

  /**
   * Runs `work` in one READ COMMITTED transaction: commits when it resolves, rolls back when it
   * rejects. After a rejection of the commit itself the outcome is unknown.
   * @throws whatever `work` throws; AppError `postgres.rolled_back` when a statement failed inside
   *   and `work` hid it
   */
  async transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    const client = await this.pool.connect();
    const afterCommit: (() => void)[] = [];
    let broken: Error | undefined;
    // A client in use reports a lost connection as an event too; the statement rejects anyway.
    const onError = (error: Error): void => {
      broken = error;
    };
    client.on('error', onError);
    try {
      await client.query('BEGIN');
      const result = await work({
        query: (statement, values) => run(client, statement, values),
        afterCommit: (action) => afterCommit.push(action),
      });
      const commit = await client.query('COMMIT');
      if (commit.command !== 'COMMIT') throw rolledBack();
      for (const action of afterCommit) action();
      return result;
    } catch (error) {
      broken ??= await rollBack(client);
      throw error;
    } finally {
      client.off('error', onError);
      client.release(broken);
    }
  }

  /** Takes one connection out of the pool until it is closed. */
  async session(): Promise<Session> {
    const client = await this.pool.connect();
    const lost = new AbortController();
    const onLost = (): void => lost.abort();
    client.on('error', onLost);
    client.on('end', onLost);
    let isOpen = true;
    return {
      lost: lost.signal,
      query: (statement, values) =>
        run<never>(client, statement, values).catch((error: unknown) => {
          // Not refused by the server: nobody knows whether it still hears us.
          if (sqlState(error) === null) lost.abort();
          throw error;
        }),
      close: async () => {
        if (!isOpen) return;
        isOpen = false;
        client.release(true);
      },
    };
  }

  /** Waits for the connections in use and closes all of them. Idempotent. */
  close(): Promise<void> {
    this.closing ??= this.pool.end();
    return this.closing;
  }
}

/** Whoever uses the client is told by his next statement. */
const ignore = (): void => undefined;

/**
 * Keeps the loss of a connection from ending the process. Between the moment a pool hands a client
 * over and the moment its taker listens nobody does: a server that dies right then, its last words in
 * the packet that made the client ready, would leave the client's error event unheard.
 */
export function surviveLostClients(pool: Pool): void {
  pool.on('acquire', (client) => {
    if (client.listenerCount('error', ignore) === 0) client.on('error', ignore);
  });
}

function rolledBack(): AppError {
  return new AppError({
    code: 'postgres.rolled_back',
    kind: 'internal',
    publicMessage: 'internal error',
    internalMessage: 'a statement failed inside the transaction and its error was hidden',
  });
}

/** @returns the reason to throw the connection away, if it has one */
async function rollBack(client: PoolClient): Promise<Error | undefined> {
  try {
    await client.query('ROLLBACK');
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(messageOf(error));
  }
}

/**
 * The SQLSTATE of a database error, for example `23505`.
 * @returns null when the error is not one of PostgreSQL's own
 * @source PostgreSQL 18 manual, appendix A
 */
export function sqlState(error: unknown): string | null {
  if (!(error instanceof Error) || !('code' in error)) return null;
  const { code } = error;
  // Each has a digit; `EPIPE` of the system has none.
  return typeof code === 'string' && /^(?=.*\d)[0-9A-Z]{5}$/.test(code) ? code : null;
}

/** Whether the statement met an existing row of a unique index (SQLSTATE 23505). */
export function isUniqueViolation(error: unknown): boolean {
  return sqlState(error) === '23505';
}
