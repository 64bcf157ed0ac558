import type { EventLog } from '#libs/event-log/core';
import type { Peppers, ServedCatalog } from '#libs/keys/core';
import type { Database } from '#libs/platform/postgres';
import type { RpcHost, RpcTransport } from '#libs/platform/rpc';
import type { Runtime } from '#libs/platform/telemetry';

/** What the auth service is built from; infrastructure is made outside and handed in. */
export interface AuthOptions {
  readonly runtime: Runtime;
  /** Reaches `budget` and `reporting.activity`. */
  readonly rpc: RpcTransport;
  /** Where `auth.keys` and `auth.prices` are offered. */
  readonly host: RpcHost;
  readonly eventLog: EventLog;
  /** Acts as role `tollgate_auth`. */
  readonly database: Database;
  /** The same database for the entities' own pool. */
  readonly databaseUrl: string;
  readonly peppers: Peppers;
  /** The operator secret; null = administration answers 401. */
  readonly adminApiKey: string | null;
  /** Whether `X-User-ID` is believed without further proof. */
  readonly trustUserIdHeader: boolean;
  /** Believed beside `X-User-ID` in `X-Tollgate-Proxy-Secret`; null = none. */
  readonly trustedProxySecret: string | null;
  /** Whether team `default` is created at boot. */
  readonly createDefaultTeam: boolean;
  /** The catalogue in force. */
  readonly catalog: ServedCatalog;
  /** Folder of price sheets, read at boot. */
  readonly priceSheetsDir: string;
}

/** Injection token of `AuthOptions`. */
export const AUTH_OPTIONS = Symbol('AUTH_OPTIONS');

/** The one organisation a deployment starts with. */
export const ORGANISATION_ID = 'default';
