import {
  ClickHouseLogLevel,
  createClient,
  type ClickHouseClient,
  type ClickHouseClientConfigOptions,
} from '@clickhouse/client';

import { AppError, assert } from '#libs/kernel';

import { ClickHouseSession } from './clickhouse-session.js';
import { settingsFor, type SessionPurpose } from './clickhouse-settings.js';

/** Where the engine is: a server reached over HTTP, or the engine inside this process. */
export type ClickHouseTarget =
  | { readonly kind: 'server'; readonly url: string }
  | { readonly kind: 'embedded'; readonly dataDir: string };

/** What a set of sessions shares. */
export interface ClickHouseEngineOptions {
  readonly target: ClickHouseTarget;
  /** Lower-case identifier. @default 'tollgate' */
  readonly database?: string;
  /** How long a server may take to answer, milliseconds; the embedded engine has no network. @default 60000 */
  readonly requestTimeoutMs?: number;
}

const DEFAULT_DATABASE = 'tollgate';
const DEFAULT_REQUEST_TIMEOUT_MS = 60_000;

/** Sockets to a server that are kept open per session. */
const MAX_SOCKETS = 10;

/** The client prints engine texts, which quote row data, unless it is told not to. */
const SILENT = { level: ClickHouseLogLevel.OFF };

/** What the client takes in place of HTTP. */
type ClientConnection = NonNullable<ClickHouseClientConfigOptions['connection']>;

/**
 * The one place that knows which engine is in use. It hands out sessions; on the embedded engine
 * each is a connection of its own over the one data directory of the process, and they run in
 * parallel. One process can have only one data directory open.
 */
export class ClickHouseEngine {
  readonly database: string;
  private readonly target: ClickHouseTarget;
  private readonly requestTimeoutMs: number;

  constructor(options: ClickHouseEngineOptions) {
    this.target = options.target;
    this.database = options.database ?? DEFAULT_DATABASE;
    this.requestTimeoutMs = options.requestTimeoutMs ?? DEFAULT_REQUEST_TIMEOUT_MS;
    assert(/^[a-z][a-z0-9_]{0,62}$/.test(this.database), 'a database is a lower-case identifier');
  }

  /** A new session; it connects on first use and belongs to the caller, who closes it. */
  session(purpose: SessionPurpose): ClickHouseSession {
    return new ClickHouseSession({
      connect: () => this.connect(),
      settings: settingsFor(purpose),
      serial: purpose === 'write' || this.target.kind === 'embedded',
      settingsStay: this.target.kind === 'embedded',
    });
  }

  /** Creates the database when it is missing. Idempotent. @throws AppError `clickhouse.failed` */
  async createDatabase(): Promise<void> {
    if (this.target.kind === 'embedded') return;
    const url = this.target.url;
    const session = new ClickHouseSession({
      connect: async () => this.serverClient(url, 'default'),
      settings: settingsFor('write'),
      serial: true,
      settingsStay: false,
    });
    try {
      await session.run({
        name: 'database.create',
        sql: `CREATE DATABASE IF NOT EXISTS ${this.database}`,
      });
    } finally {
      await session.close();
    }
  }

  private async connect(): Promise<ClickHouseClient> {
    return this.target.kind === 'server'
      ? this.serverClient(this.target.url, this.database)
      : this.embeddedClient(this.target.dataDir);
  }

  private serverClient(url: string, database: string): ClickHouseClient {
    return createClient({
      url,
      database,
      application: 'tollgate',
      request_timeout: this.requestTimeoutMs,
      max_open_connections: MAX_SOCKETS,
      use_multipart_params_auto: true,
      log: SILENT,
    });
  }

  /** The embedded engine takes no database option: the session is moved into it. */
  private async embeddedClient(dataDir: string): Promise<ClickHouseClient> {
    const { createChdbConnection } = await loadChdb();
    // The embedded engine is typed against its own copy of the client's types; the shapes are equal.
    const connection = createChdbConnection({ path: dataDir }) as unknown as ClientConnection;
    const client = createClient({ connection, log: SILENT });
    const clickhouse_settings = settingsFor('write');
    try {
      const query = `CREATE DATABASE IF NOT EXISTS ${this.database}`;
      await client.command({ query, clickhouse_settings });
      await client.command({ query: `USE ${this.database}`, clickhouse_settings });
      return client;
    } catch (error) {
      await client.close();
      throw error;
    }
  }
}

async function loadChdb(): Promise<typeof import('chdb/connection')> {
  try {
    return await import('chdb/connection');
  } catch (error) {
    throw new AppError({
      code: 'clickhouse.not_installed',
      kind: 'internal',
      publicMessage: 'the embedded usage store is not installed',
      internalMessage:
        'the embedded usage store needs the package chdb (glibc Linux or macOS): ' +
        'install the optional dependencies, or set CLICKHOUSE_URL',
      cause: error,
    });
  }
}
