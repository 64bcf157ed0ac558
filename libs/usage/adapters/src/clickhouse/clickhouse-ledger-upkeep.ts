import { assert, parseUsd } from '#libs/kernel';
import type { ClickHouseEngine, ClickHouseSession } from '#libs/platform/clickhouse';
import {
  LedgerUpkeep,
  type HourDifference,
  type HourRange,
  type LedgerTable,
  type MergeOrder,
  type RollupComparison,
  type RollupMerge,
  type UnsealedBatch,
} from '#libs/usage/core';

import { RollupMerges } from './rollup-merges.js';
import {
  applySql,
  besideTables,
  computeCellsSql,
  differencesSql,
  noteBatchesSql,
  repeatedRowsSql,
} from './rollup.query.js';

/** A seal may carry an earlier time than its rows when clocks differ, seconds. */
const CLOCK_MARGIN_S = 3_600;

const ROW_TABLES: Readonly<Record<LedgerTable, string>> = {
  usage: 'raw_usage_v1',
  rejection: 'raw_rejection_v1',
};

interface DifferenceRow {
  readonly hour_s: number;
  readonly cell_count: string;
  readonly stored_attempts: string;
  readonly computed_attempts: string;
  readonly stored_cost_usd: string;
  readonly computed_cost_usd: string;
  readonly stored_charge_usd: string;
  readonly computed_charge_usd: string;
}

/** Upkeep of the ledger over a session of its own, so that no insert of a batch waits behind it. */
export class ClickHouseLedgerUpkeep extends LedgerUpkeep {
  private readonly session: ClickHouseSession;
  private readonly merges: RollupMerges;

  /** Connects on first use. */
  constructor(engine: ClickHouseEngine) {
    super();
    this.session = engine.session('write');
    this.merges = new RollupMerges(this.session);
  }

  async rebuildRollup(
    range: HourRange,
    isApplied: boolean,
    label: string,
  ): Promise<RollupComparison> {
    assert(/^[a-z0-9_]{1,40}$/.test(label), 'a label names a table');
    const params = secondsOf(range);
    const { cells, batches } = besideTables(label);
    try {
      await this.run(
        `CREATE TABLE ${batches} (batch_id String) ENGINE = MergeTree ORDER BY batch_id`,
      );
      await this.run(`CREATE TABLE ${cells} AS rollup_hour ENGINE = MergeTree ORDER BY batch_id`);
      await this.run(noteBatchesSql(batches), params);
      await this.run(computeCellsSql(cells, batches), params);
      const compared = {
        batches: await this.number(`SELECT count() AS n FROM ${batches}`),
        cells: await this.number(`SELECT count() AS n FROM ${cells}`),
        repeatedRows: await this.number(repeatedRowsSql(batches), params, 'repeated'),
        differences: await this.differences(cells, batches, params),
      };
      if (isApplied && compared.differences.length > 0) {
        await this.run(applySql(cells, batches), params);
        const left = await this.differences(cells, batches, params);
        assert(left.length === 0, 'a rollup equals its rows after it was written over');
      }
      return { ...compared, staleMerges: await this.merges.stale(range, isApplied) };
    } finally {
      await this.run(`DROP TABLE IF EXISTS ${cells} SYNC`);
      await this.run(`DROP TABLE IF EXISTS ${batches} SYNC`);
    }
  }

  mergeClosed(order: MergeOrder): Promise<RollupMerge> {
    return this.merges.merge(order);
  }

  async hours(): Promise<{ readonly firstHourMs: number; readonly lastHourMs: number } | null> {
    const found = await this.session.rows<{ first_s: number; last_s: number; n: string }>({
      name: 'usage.hours',
      sql:
        'SELECT toUnixTimestamp(min(first_hour)) AS first_s, toUnixTimestamp(max(last_hour)) AS last_s, ' +
        "count() AS n FROM batch_seal WHERE topic = 'request.completed'",
    });
    const row = found[0];
    if (row === undefined || row.n === '0') return null;
    return { firstHourMs: row.first_s * 1000, lastHourMs: row.last_s * 1000 };
  }

  async unsealed(
    table: LedgerTable,
    range: HourRange,
    most: number,
  ): Promise<readonly UnsealedBatch[]> {
    const params = secondsOf(range);
    const found = await this.session.rows<{ batch_id: string; row_count: string }>(
      {
        name: 'usage.unsealed',
        sql:
          `SELECT batch_id, count() AS row_count FROM ${ROW_TABLES[table]} ` +
          "WHERE recorded_at >= toDateTime({start_s:UInt32}, 'UTC') " +
          "AND recorded_at < toDateTime({end_s:UInt32}, 'UTC') " +
          'AND batch_id NOT IN (SELECT batch_id FROM batch_seal ' +
          "WHERE sealed_at >= toDateTime({sealed_s:UInt32}, 'UTC')) " +
          'GROUP BY batch_id ORDER BY batch_id LIMIT {most:UInt32}',
      },
      { ...params, sealed_s: Math.max(0, params.start_s - CLOCK_MARGIN_S), most },
    );
    return found.map((row) => ({ table, batchId: row.batch_id, rows: Number(row.row_count) }));
  }

  async cleanUp(): Promise<void> {
    const found = await this.session.rows<{ name: string }>({
      name: 'usage.left_behind',
      sql:
        'SELECT name FROM system.tables WHERE database = currentDatabase() ' +
        "AND name LIKE 'rollup\\_beside\\_%' AND metadata_modification_time < now() - 86400",
    });
    for (const { name } of found) await this.run(`DROP TABLE IF EXISTS ${name} SYNC`);
    await this.merges.cleanUp();
  }

  close(): Promise<void> {
    return this.session.close();
  }

  private async differences(
    cells: string,
    batches: string,
    params: SecondsRange,
  ): Promise<readonly HourDifference[]> {
    const found = await this.session.rows<DifferenceRow>(
      { name: 'usage.rollup_differences', sql: differencesSql(cells, batches) },
      params,
    );
    return found.map((row) => ({
      hourMs: row.hour_s * 1000,
      cells: Number(row.cell_count),
      stored: {
        attempts: Number(row.stored_attempts),
        costPicoUsd: parseUsd(row.stored_cost_usd),
        chargePicoUsd: parseUsd(row.stored_charge_usd),
      },
      computed: {
        attempts: Number(row.computed_attempts),
        costPicoUsd: parseUsd(row.computed_cost_usd),
        chargePicoUsd: parseUsd(row.computed_charge_usd),
      },
    }));
  }

  private run(sql: string, params?: SecondsRange): Promise<void> {
    return this.session.run({ name: 'usage.rebuild_rollup', sql }, params);
  }

  private async number(sql: string, params?: SecondsRange, column = 'n'): Promise<number> {
    const found = await this.session.rows<Record<string, string>>(
      { name: 'usage.rebuild_rollup', sql },
      params,
    );
    return Number(found[0]?.[column] ?? 0);
  }
}

type SecondsRange = Readonly<Record<'start_s' | 'end_s', number>>;

function secondsOf({ startMs, endMs }: HourRange): SecondsRange {
  return { start_s: Math.floor(startMs / 1000), end_s: Math.ceil(endMs / 1000) };
}
