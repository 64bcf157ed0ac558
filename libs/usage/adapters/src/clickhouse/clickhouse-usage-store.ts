import { createHash } from 'node:crypto';

import { assert, parseUsd, ZERO_PICO_USD } from '#libs/kernel';
import {
  clickHouseMigrationsDir,
  migrateClickHouse,
  readClickHouseMigrations,
  type ClickHouseEngine,
  type ClickHouseOperation,
  type ClickHouseSession,
} from '#libs/platform/clickhouse';
import {
  monthOf,
  UsageStore,
  type BatchDigest,
  type BatchKey,
  type BatchSeal,
  type LedgerTable,
  type RejectionRow,
  type RollupCell,
  type UsageRow,
} from '#libs/usage/core';

import { checkLedgerSettings } from './ledger-settings.js';
import {
  fromBatchSeal,
  fromRejectionRow,
  fromRollupCell,
  fromUsageRow,
} from './usage-row.mapping.js';

/** Names of the tables behind the port. */
const LEDGER_TABLES: Readonly<Record<LedgerTable, string>> = {
  usage: 'raw_usage_v1',
  rejection: 'raw_rejection_v1',
};

/** Sums that identify a batch; refusals have no money. */
const DIGEST_SUMS: Readonly<Record<LedgerTable, string>> = {
  usage: 'sum(cost_usd) AS cost_usd, sum(charge_usd) AS charge_usd',
  rejection: "'0' AS cost_usd, '0' AS charge_usd",
};

/** Nothing of a batch. */
const NO_ROWS: BatchDigest = {
  rows: 0,
  costPicoUsd: ZERO_PICO_USD,
  chargePicoUsd: ZERO_PICO_USD,
  xor64: 0n,
};
/** Most batches of one read of digests. */
const MOST_DIGESTS = 1_000;

interface DigestRow {
  readonly batch_id: string;
  readonly row_count: string;
  readonly cost_usd: string;
  readonly charge_usd: string;
  readonly xor64: string;
}

/**
 * The ledger in ClickHouse, on a server or embedded. All calls go through one session, one after
 * the other, so an insert of this process has ended when the next call begins.
 */
export class ClickHouseUsageStore extends UsageStore {
  private readonly session: ClickHouseSession;
  private readonly pings: ClickHouseSession;

  /** Connects on first use. */
  constructor(private readonly engine: ClickHouseEngine) {
    super();
    this.session = engine.session('write');
    this.pings = engine.session('read');
  }

  async insertUsage(key: BatchKey, rows: readonly UsageRow[]): Promise<void> {
    assertOneMonth(rows);
    await this.session.insert({
      name: 'usage.insert',
      table: LEDGER_TABLES.usage,
      token: key.token,
      rows: rows.map((row) => fromUsageRow(key.batchId, row)),
    });
  }

  async insertRejections(key: BatchKey, rows: readonly RejectionRow[]): Promise<void> {
    assertOneMonth(rows);
    await this.session.insert({
      name: 'usage.insert_rejections',
      table: LEDGER_TABLES.rejection,
      token: key.token,
      rows: rows.map((row) => fromRejectionRow(key.batchId, row)),
    });
  }

  insertCells(key: BatchKey, month: number, cells: readonly RollupCell[]): Promise<void> {
    return this.insertRevision(key, month, cells, 0n);
  }

  /** Between the question and the insert another may write the revision: the later of two counts. */
  async overwriteCells(key: BatchKey, month: number, cells: readonly RollupCell[]): Promise<void> {
    if (cells.length === 0) return;
    const hours = cells.map(({ hourMs }) => hourMs / 1000).toSorted((a, b) => a - b);
    const params = { batchId: key.batchId, first_s: hours[0], last_s: hours.at(-1) };
    const found = await this.session.rows<{ next: string }>(NEXT_REVISION, params);
    await this.insertRevision(key, month, cells, BigInt(found[0]?.next ?? 0));
  }

  /** The token holds the time: a seal must not be swallowed because it was written, and lost, before. */
  async insertSeals(seals: readonly BatchSeal[], sealedAtMs: number): Promise<void> {
    const hash = createHash('sha256');
    for (const { batchId } of seals) hash.update(batchId);
    await this.session.insert({
      name: 'usage.insert_seals',
      table: 'batch_seal',
      token: `seal:${sealedAtMs}:${hash.digest('hex')}`,
      rows: seals.map((seal) => fromBatchSeal(seal, sealedAtMs)),
    });
  }

  async digestOf(
    table: LedgerTable,
    batchId: string,
    months: readonly number[],
  ): Promise<BatchDigest> {
    const digests = await this.digestsOf(table, [batchId], months);
    return digests.get(batchId) ?? NO_ROWS;
  }

  async digestsOf(
    table: LedgerTable,
    batchIds: readonly string[],
    months: readonly number[],
  ): Promise<ReadonlyMap<string, BatchDigest>> {
    assert(batchIds.length <= MOST_DIGESTS, `${batchIds.length} digests are asked for at once`);
    if (batchIds.length === 0) return new Map();
    const found = await this.session.rows<DigestRow>(digestQuery(table, batchIds), { months });
    return new Map(
      found.map((row) => [
        row.batch_id,
        {
          rows: Number(row.row_count),
          costPicoUsd: parseUsd(row.cost_usd),
          chargePicoUsd: parseUsd(row.charge_usd),
          xor64: BigInt(row.xor64),
        },
      ]),
    );
  }

  async eventIdsOf(
    table: LedgerTable,
    batchId: string,
    months: readonly number[],
  ): Promise<readonly string[]> {
    const found = await this.session.rows<{ event_id: string }>(
      {
        name: 'usage.event_ids',
        sql: `SELECT event_id FROM ${LEDGER_TABLES[table]} WHERE ${BATCH_ROWS} ORDER BY event_id`,
      },
      { batchId, months },
    );
    return found.map((row) => row.event_id);
  }

  /** The engine waits for the mutation, because `lightweight_deletes_sync` is among the settings. */
  async deleteBatch(table: LedgerTable, batchId: string): Promise<void> {
    if (table === 'usage') {
      await this.session.remove(
        {
          name: 'usage.delete_cells',
          sql: 'DELETE FROM rollup_hour WHERE batch_id = {batchId:String}',
        },
        { batchId },
      );
    }
    await this.session.remove(
      {
        name: 'usage.delete_batch',
        sql: `DELETE FROM ${LEDGER_TABLES[table]} WHERE batch_id = {batchId:String}`,
      },
      { batchId },
    );
  }

  /**
   * On a server the insert's query id is its token, by which it is ended. On the embedded engine no
   * insert outlives its process, and inside the process this call waits for its turn.
   */
  async endInsert(key: BatchKey): Promise<void> {
    await this.session.run(
      { name: 'usage.end_insert', sql: 'KILL QUERY WHERE query_id = {queryId:String} SYNC' },
      { queryId: key.token },
    );
  }

  async migrate(): Promise<void> {
    const migrations = await readClickHouseMigrations(clickHouseMigrationsDir());
    await migrateClickHouse(this.engine, this.session, migrations);
    await checkLedgerSettings(this.session);
  }

  /** In a session of its own: it does not wait behind an insert. */
  ping(): Promise<void> {
    return this.pings.run({ name: 'usage.ping', sql: 'SELECT 1' });
  }

  async close(): Promise<void> {
    await this.session.close();
    await this.pings.close();
  }

  private insertRevision(
    key: BatchKey,
    month: number,
    cells: readonly RollupCell[],
    revision: bigint,
  ): Promise<void> {
    return this.session.insert({
      name: 'usage.insert_cells',
      table: 'rollup_hour',
      token: key.token,
      rows: cells.map((cell) => fromRollupCell(key.batchId, month, cell, revision)),
    });
  }
}

/** Without FINAL, which would leave out cells marked deleted. */
const NEXT_REVISION: ClickHouseOperation = {
  name: 'usage.next_revision',
  sql:
    'SELECT if(count() = 0, 0, max(revision) + 1) AS next FROM rollup_hour ' +
    "WHERE hour >= toDateTime({first_s:UInt32}, 'UTC') " +
    "AND hour <= toDateTime({last_s:UInt32}, 'UTC') AND batch_id = {batchId:String}",
};

/** Rows of one batch; the month lets the engine skip every other partition. */
const BATCH_ROWS =
  'batch_id = {batchId:String} AND toYYYYMM(recorded_at) IN {months:Array(UInt32)}';

/** The ids stand in the statement itself: as parameters they would make the address too long. */
function digestQuery(table: LedgerTable, batchIds: readonly string[]): ClickHouseOperation {
  assert(
    batchIds.every((id) => /^[0-9a-f]{64}$/.test(id)),
    'a batch id has 64 hex digits',
  );
  return {
    name: 'usage.digest',
    sql:
      `SELECT batch_id, count() AS row_count, ${DIGEST_SUMS[table]}, ` +
      'groupBitXor(reinterpretAsUInt64(UUIDToNum(event_id))) AS xor64 ' +
      `FROM ${LEDGER_TABLES[table]} WHERE batch_id IN ('${batchIds.join("','")}') ` +
      'AND toYYYYMM(recorded_at) IN {months:Array(UInt32)} GROUP BY batch_id',
  };
}

/** An insert that touches two partitions is two transactions, of which one can fail. */
function assertOneMonth(rows: readonly { readonly recordedAtMs: number }[]): void {
  const months = new Set(rows.map((row) => monthOf(row.recordedAtMs)));
  assert(months.size <= 1, 'the rows of one insert are recorded in one month');
}
