import 'reflect-metadata';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';

import { authConsumer, AuthModule, loadCatalog, type AuthOptions } from '#apps/auth';
import { BudgetOutbox, PostgresBudgetAuthority } from '#libs/budgets/adapters';
import { BUDGET_AUTHORITY_METHODS, BUDGET_SERVICE } from '#libs/budgets/core';
import {
  PostgresEventLog,
  productTopics,
  provisionTopics,
  type EventLogServer,
} from '#libs/event-log/adapters';
import type { LogRecord } from '#libs/event-log/core';
import { TOPICS } from '#libs/events';
import type { Clock } from '#libs/kernel';
import { parsePeppers } from '#libs/keys/core';
import { createHttpApp } from '#libs/platform/http';
import { OutboxWriter, type Database } from '#libs/platform/postgres';
import { LocalRpc, rpcService } from '#libs/platform/rpc';
import { createRuntime, type Runtime } from '#libs/platform/telemetry';
import { startTestPostgres, type TestPostgres } from '#libs/testing';
import { KEY_ACTIVITY_METHODS, type KeyActivity } from '#libs/usage/core';
import { POSTGRES_MIGRATIONS } from '#migrations';

/** The operator secret of the tests. */
export const ADMIN = 'operator-secret-of-the-tests';
/** Two live peppers, as during a pepper rotation. */
export const PEPPERS = parsePeppers(
  `v2:${Buffer.alloc(32, 2).toString('base64')},v1:${Buffer.alloc(32, 1).toString('base64')}`,
);

/** What a test may set of the service. */
export interface FixtureOptions {
  readonly adminApiKey?: string | null;
  readonly trustUserIdHeader?: boolean;
  readonly clock?: Clock;
  /** Folder of price sheets. @default the packaged one */
  readonly priceSheetsDir?: string;
  /** A database of an earlier start; its owner stops it. */
  readonly postgres?: TestPostgres;
  /** How the entities reach the database. @default its URL */
  readonly entitiesUrl?: (url: string) => string;
}

/** An answer as a client sees it. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** Parsed when the answer has a body. */
  readonly body: Record<string, unknown>;
}

/** The auth service on real PostgreSQL, with the real budget authority beside it. */
export interface AuthFixture {
  readonly postgres: TestPostgres;
  readonly runtime: Runtime;
  readonly rpc: LocalRpc;
  readonly eventLog: PostgresEventLog;
  /** Acts as the superuser. */
  readonly superuser: Database;
  /** Answers of reporting, by key id. */
  readonly activity: Map<string, KeyActivity>;
  send(method: string, path: string, options?: SendOptions): Promise<Answer>;
  /** Every record of the control topic so far. */
  control(): Promise<{ readonly type: string; readonly data: Record<string, unknown> }[]>;
  stop(): Promise<void>;
}

/** What a request carries. */
export interface SendOptions {
  readonly user?: string;
  readonly authorization?: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Starts the service on a database of its own. */
export async function startAuth(given: FixtureOptions = {}): Promise<AuthFixture> {
  const postgres = given.postgres ?? (await startTestPostgres({ migrations: POSTGRES_MIGRATIONS }));
  await provisionTopics(postgres.url, productTopics(3));
  const runtime = createRuntime({
    service: 'auth',
    partitions: 3,
    logLevel: 'silent',
    ...(given.clock === undefined ? {} : { clock: given.clock }),
  });
  const { clock, random } = runtime;
  const rpc = new LocalRpc();
  const activity = new Map<string, KeyActivity>();
  exposeNeighbours(postgres, runtime, rpc, activity);
  const database = postgres.database('auth');
  const eventLog = new PostgresEventLog({ database, clock, random });
  const options: AuthOptions = {
    runtime,
    rpc,
    host: rpc,
    eventLog,
    database,
    databaseUrl: given.entitiesUrl?.(postgres.url) ?? postgres.url,
    peppers: PEPPERS,
    adminApiKey: given.adminApiKey === undefined ? ADMIN : given.adminApiKey,
    trustUserIdHeader: given.trustUserIdHeader ?? true,
    trustedProxySecret: 'trusted-proxy-secret',
    createDefaultTeam: true,
    catalog: await loadCatalog(null, { SIMULATOR_URL: 'http://127.0.0.1:8090' }),
    priceSheetsDir: given.priceSheetsDir ?? new URL('../../../../prices', import.meta.url).pathname,
  };
  const app = await createHttpApp(AuthModule.register(options), runtime, {
    serviceName: 'auth',
    adminApiKey: options.adminApiKey,
    metricsToken: null,
  });
  const consumer = authConsumer(app, options);
  await app.init();
  await app.startAllMicroservices();
  await app.listen(0, '127.0.0.1');
  const base = await app.getUrl();
  return {
    postgres,
    runtime,
    rpc,
    eventLog,
    activity,
    superuser: postgres.database(null),
    send: (method, path, options = {}) => send(base, method, path, options),
    control: () => readControl(eventLog),
    stop: () =>
      stop({
        app,
        consumer,
        eventLog,
        postgres: given.postgres === undefined ? postgres : null,
      }),
  };
}

function exposeNeighbours(
  postgres: TestPostgres,
  runtime: Runtime,
  rpc: LocalRpc,
  activity: ReadonlyMap<string, KeyActivity>,
): void {
  const outbox = new BudgetOutbox(new OutboxWriter(), runtime.clock, runtime.random);
  const authority = new PostgresBudgetAuthority({ database: postgres.database('budget'), outbox });
  rpc.expose(rpcService(BUDGET_SERVICE, authority, BUDGET_AUTHORITY_METHODS));
  const reporting = {
    activityOf: async (_orgId: string, keyIds: readonly string[]) =>
      keyIds.flatMap((keyId) => activity.get(keyId) ?? []),
  };
  rpc.expose(rpcService('reporting.activity', reporting, KEY_ACTIVITY_METHODS));
}

async function send(
  base: string,
  method: string,
  path: string,
  { user, authorization, body, headers = {} }: SendOptions,
): Promise<Answer> {
  const response = await fetch(`${base}${path}`, {
    method,
    headers: {
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(user === undefined ? {} : { 'x-user-id': user }),
      ...(authorization === undefined ? {} : { authorization }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    text,
    body: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>),
  };
}

async function readControl(
  eventLog: PostgresEventLog,
): Promise<{ readonly type: string; readonly data: Record<string, unknown> }[]> {
  const { earliest, next } = await eventLog.bounds(TOPICS.control, 0);
  const limit = { maxRecords: 1000, maxBytes: 16_000_000 };
  const records: LogRecord[] = [];
  for (let from = earliest; from < next; from = records.at(-1)!.offset + 1n) {
    const page = await eventLog.read(TOPICS.control, 0, from, limit);
    if (page.length === 0) break;
    records.push(...page);
  }
  return records.map((record) => ({
    type: record.headers['ce_type'] ?? '',
    data: JSON.parse(Buffer.from(record.value).toString()) as Record<string, unknown>,
  }));
}

async function stop(parts: {
  readonly app: NestFastifyApplication;
  readonly consumer: EventLogServer;
  readonly eventLog: PostgresEventLog;
  readonly postgres: TestPostgres | null;
}): Promise<void> {
  await parts.consumer.close();
  await parts.app.close();
  await parts.eventLog.close();
  await parts.postgres?.stop();
}
