import type { ClickHouseClient, ClickHouseSettings } from '@clickhouse/client';

import { AppError, assert, SystemClock, type Clock } from '#libs/kernel';

import { MAX_INSERT_ROWS } from './clickhouse-settings.js';
import { engineError } from './clickhouse.error.js';

/** Most calls that wait for their turn in one session; the next one is refused. */
const MAX_WAITING_CALLS = 1000;
/**
 * Longest an insert may wait for its turn, milliseconds. A process that was frozen for longer may have
 * been replaced, and by the number of inserts since then the engine may have forgotten the token: sent
 * now, rows that its successor has stored would be stored twice.
 */
const MAX_INSERT_WAIT_MS = 120_000;
/** Below the time in which a group gives the partitions of a silent member to another. */
const MAX_REMOVAL_WAIT_MS = 5_000;

/** A statement with a name for operators. Values reach it only as `{name:Type}` parameters. */
export interface ClickHouseOperation {
  /** `<area>.<what>`, in errors and metrics. */
  readonly name: string;
  readonly sql: string;
}

/** Values of the `{name:Type}` parameters of an operation. */
export type ClickHouseParams = Readonly<Record<string, unknown>>;

/** One insert: one block under one deduplication token. */
export interface ClickHouseInsert {
  readonly name: string;
  readonly table: string;
  /** Not empty; the same token stores once, whatever the rows. Also the query id on a server. */
  readonly token: string;
  /** In the order they are to be stored; ids, money and 64-bit integers as text. */
  readonly rows: readonly object[];
}

/** How a session reaches its engine. */
export interface SessionConnector {
  connect(): Promise<ClickHouseClient>;
  /** The complete set that goes with every call. */
  readonly settings: ClickHouseSettings;
  /** Whether calls run one after the other. */
  readonly serial: boolean;
  /**
   * Whether settings stay in force for the session. The embedded engine turns each setting into a
   * statement before the query, and reads what follows anew for each of them: five times the cost
   * of an insert (measured: 5,000 rows, 380 ms against 75 ms), so there an insert's settings are
   * sent by a call of their own just before it.
   */
  readonly settingsStay: boolean;
  /** @default the machine's */
  readonly clock?: Pick<Clock, 'monotonicMs'>;
}

/**
 * One session of the engine. It connects on first use; a failed connection is tried again by the
 * next call. Every call sends the complete settings. Safe for concurrent use.
 */
export class ClickHouseSession {
  private client: Promise<ClickHouseClient> | null = null;
  private tail: Promise<unknown> = Promise.resolve();
  private waiting = 0;
  private closed = false;
  private readonly clock: Pick<Clock, 'monotonicMs'>;

  constructor(private readonly connector: SessionConnector) {
    this.clock = connector.clock ?? new SystemClock();
  }

  /**
   * Runs a statement with a result. The result is held in memory: bound it with LIMIT.
   * @returns rows as objects; 64-bit integers and decimals are strings
   * @throws AppError `clickhouse.failed`, `clickhouse.busy`, `clickhouse.closed`
   */
  rows<T>(operation: ClickHouseOperation, params: ClickHouseParams = {}): Promise<T[]> {
    return this.call(operation.name, async (client) => {
      const result = await client.query({
        query: operation.sql,
        format: 'JSONEachRow',
        query_params: params,
        clickhouse_settings: this.connector.settings,
      });
      return result.json<T>();
    });
  }

  /**
   * Runs a statement without a result.
   * @throws AppError `clickhouse.failed`, `clickhouse.busy`, `clickhouse.closed`
   */
  run(operation: ClickHouseOperation, params: ClickHouseParams = {}): Promise<void> {
    return this.call(operation.name, async (client) => {
      await client.command({
        query: operation.sql,
        query_params: params,
        clickhouse_settings: this.connector.settings,
      });
    });
  }

  /**
   * Runs a statement that removes rows, for whoever was asked a moment ago whether it still may: one
   * whose turn comes more than 5 s late, as after a freeze, is not sent.
   * @throws AppError `clickhouse.failed`, `clickhouse.busy`, `clickhouse.closed`
   */
  remove(operation: ClickHouseOperation, params: ClickHouseParams = {}): Promise<void> {
    const latestMs = this.clock.monotonicMs() + MAX_REMOVAL_WAIT_MS;
    return this.call(operation.name, async (client) => {
      this.refuseLate(operation.name, latestMs);
      await client.command({
        query: operation.sql,
        query_params: params,
        clickhouse_settings: this.connector.settings,
      });
    });
  }

  /**
   * Inserts rows as one block. After a rejection the rows may be there or not; an insert whose turn
   * comes more than 2 min late is not sent.
   * @throws AppError `clickhouse.failed`, `clickhouse.busy`, `clickhouse.closed`
   */
  async insert(insert: ClickHouseInsert): Promise<void> {
    assert(insert.token !== '', 'an insert names its own token');
    assert(insert.rows.length <= MAX_INSERT_ROWS, `at most ${MAX_INSERT_ROWS} rows an insert`);
    if (insert.rows.length === 0) return;
    const settings = {
      ...this.connector.settings,
      insert_deduplication_token: insert.token,
    };
    const latestMs = this.clock.monotonicMs() + MAX_INSERT_WAIT_MS;
    await this.call(insert.name, async (client) => {
      this.refuseLate(insert.name, latestMs);
      const { settingsStay } = this.connector;
      if (settingsStay) await client.command({ query: 'SELECT 1', clickhouse_settings: settings });
      await client.insert({
        table: insert.table,
        values: insert.rows,
        format: 'JSONEachRow',
        query_id: insert.token,
        ...(settingsStay ? {} : { clickhouse_settings: settings }),
      });
    });
  }

  /** Waits for the calls under way, then leaves the engine. Idempotent. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await this.tail.catch(() => undefined);
    const client = await this.client?.catch(() => null);
    await client?.close();
  }

  private refuseLate(name: string, latestMs: number): void {
    if (this.clock.monotonicMs() <= latestMs) return;
    throw refusedCall('clickhouse.busy', `${name} came too late`);
  }

  private async call<T>(name: string, work: (client: ClickHouseClient) => Promise<T>): Promise<T> {
    if (this.closed) throw refusedCall('clickhouse.closed', `${name} after close`);
    if (this.waiting >= MAX_WAITING_CALLS) throw refusedCall('clickhouse.busy', `${name} refused`);
    this.waiting += 1;
    const before = this.connector.serial ? this.tail : Promise.resolve();
    const mine = before.then(() => this.connected()).then(work);
    const settled = mine.then(ignore, ignore);
    this.tail = this.connector.serial ? settled : Promise.all([this.tail, settled]);
    try {
      return await mine;
    } catch (error) {
      throw engineError(name, error);
    } finally {
      this.waiting -= 1;
    }
  }

  private async connected(): Promise<ClickHouseClient> {
    this.client ??= this.connector.connect();
    try {
      return await this.client;
    } catch (error) {
      this.client = null;
      throw error;
    }
  }
}

function ignore(): void {}

function refusedCall(code: 'clickhouse.closed' | 'clickhouse.busy', what: string): AppError {
  return new AppError({
    code,
    kind: 'unavailable',
    publicMessage: 'the usage store does not answer',
    internalMessage: `usage store: ${what}`,
    retryable: code === 'clickhouse.busy',
  });
}
