import type { EventLog } from '#libs/event-log/core';
import type { Jobs } from '#libs/jobs/core';
import type { Database } from '#libs/platform/postgres';
import type { RpcHost, RpcTransport } from '#libs/platform/rpc';
import type { Runtime } from '#libs/platform/telemetry';
import type { LedgerUpkeep, UsageStore } from '#libs/usage/core';

/** What the metering service is built from; infrastructure is made outside and handed in. */
export interface MeteringOptions {
  readonly runtime: Runtime;
  /** Reaches `auth.prices`, `auth.dead-letters` and `budget.dead-letters`. */
  readonly rpc: RpcTransport;
  /** Where `metering.progress` is offered. */
  readonly host: RpcHost;
  readonly eventLog: EventLog;
  /** Acts as role `tollgate_metering`. */
  readonly database: Database;
  /** Where checks and retries are put; absent: they are not run as jobs. Closed by its opener. */
  readonly jobs?: Jobs;
  /** The ledger; brought to its schema when the module starts. Closed by whoever opened it. */
  readonly usageStore: UsageStore;
  /** Checks and rebuilds the ledger; absent: neither is done here. Closed by whoever opened it. */
  readonly ledgerUpkeep?: LedgerUpkeep;
  /** The operator secret of `/api/dead-letters`; null or absent = its routes refuse everyone. */
  readonly adminApiKey?: string | null;
  /** How long a batch waits for more records while there is little to do, milliseconds. */
  readonly lingerMs: number;
}
