import type { EventLog } from '#libs/event-log/core';
import type { Jobs } from '#libs/jobs/core';
import type { Database } from '#libs/platform/postgres';
import type { RpcHost, RpcTransport } from '#libs/platform/rpc';
import type { Runtime } from '#libs/platform/telemetry';

/** What the process gives to the budget guard; all of it is built and closed outside. */
export interface BudgetEnforcerOptions {
  readonly runtime: Runtime;
  /** Reaches `metering.rated`. */
  readonly rpc: RpcTransport;
  /** Where the service `budget` is offered. */
  readonly host: RpcHost;
  readonly eventLog: EventLog;
  /** Pool with the role and the search path of schema `budget`; at least 8 connections. */
  readonly database: Database;
  /** Where enforcement is asked for ahead of the reconciler; closed after the module. */
  readonly jobs: Jobs;
  /** How long rated batches wait behind a missing one before it is asked for, milliseconds. */
  readonly replayAfterMs: number;
}
