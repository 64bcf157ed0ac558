import { AppError, assert } from '#libs/kernel';
import type { ClickHouseSession } from '#libs/platform/clickhouse';
import type { HourRange, MergeOrder, MergePlace, RollupMerge } from '#libs/usage/core';

import {
  CANDIDATES,
  MERGE_CELLS,
  MERGE_DAYS,
  MERGED,
  MERGED_DAYS,
  NOTE_BATCHES,
  NOTED,
  STALE_RUNS,
  USELESS_RUNS,
} from './rollup-merge.query.js';

/** What is decided of a run; see `rollup_run`. */
type RunDecision = 'merged' | 'withdrawn' | 'changed';

/** Versions tried for one decision; each failure means that another process decided something. */
const MOST_TRIES = 20;

/** Sums per day are kept in two grains, each of which amounts to the whole. */
const GRAINS = 2;

/** Where runs leave what they sum. */
const TABLES = ['rollup_merged', 'rollup_merged_day', 'rollup_merged_batch'] as const;

interface Candidates {
  readonly considered: string;
  readonly first_s: number;
  readonly last_s: number;
  readonly last_batch: string;
}

interface Sums {
  readonly row_sum: string;
  readonly cost_sum: string;
  readonly charge_sum: string;
}

interface NotedSums extends Sums {
  readonly batches: string;
  readonly start_s: number;
  readonly end_s: number;
}

/**
 * Merge runs: sums of closed hours over batches. A run writes under a name of its own what nobody reads,
 * and is put in force by one row whose version follows the last one its batches were chosen by. Of
 * several rows with one version the store keeps the first, because the version is the insert's token:
 * so runs in force never share a batch, whoever dies or comes late.
 */
export class RollupMerges {
  constructor(private readonly session: ClickHouseSession) {}

  /** See `LedgerUpkeep.mergeClosed`. */
  async merge({ beforeMs, after, run }: MergeOrder): Promise<RollupMerge> {
    assert(/^[a-z0-9_-]{1,60}$/.test(run), 'a run has a short name');
    const version = await this.version();
    const chosen = {
      version,
      run,
      before_s: Math.floor(beforeMs / 1000),
      after_s: Math.floor((after?.lastHourMs ?? 0) / 1000),
      after_batch: after?.batchId ?? '',
    };
    const { considered: lookedAt, ...bounds } = await this.one<Candidates>(CANDIDATES, chosen);
    const considered = Number(lookedAt);
    if (considered === 0) return { isInForce: false, batches: 0, refused: 0, next: null };
    const next: MergePlace = { lastHourMs: bounds.last_s * 1000, batchId: bounds.last_batch };
    await this.session.run(NOTE_BATCHES, { ...chosen, ...bounds });
    const { batches: count, start_s, end_s, ...sealed } = await this.one<NotedSums>(NOTED, { run });
    const batches = Number(count);
    const refused = Math.max(0, considered - batches);
    if (batches === 0) return { isInForce: false, batches, refused, next };
    await this.session.run(MERGE_CELLS, { run, start_s, end_s });
    const merged = await this.one<Sums>(MERGED, { run, start_s, end_s });
    await this.session.run(MERGE_DAYS, { run, start_s, end_s });
    const days = await this.session.rows<Sums>(MERGED_DAYS, { run, start_s, end_s });
    const isWhole =
      days.length === GRAINS && [merged, ...days].every((sums) => isSame(sealed, sums));
    if (!isWhole) return { isInForce: false, batches: 0, refused: considered, next };
    const isInForce = await this.decide(version, 'merged', run);
    return { isInForce, batches: isInForce ? batches : 0, refused, next };
  }

  /**
   * Finds runs with hours in a range that do not say what their cells say.
   * @param isApplied whether they are withdrawn; no run that summed earlier cells is put in force later
   */
  async stale(range: HourRange, isApplied: boolean): Promise<readonly string[]> {
    if (isApplied) await this.decideNext('changed', '');
    const version = await this.version();
    const found = await this.session.rows<{ run: string }>(STALE_RUNS, {
      version,
      start_s: Math.floor(range.startMs / 1000),
      end_s: Math.ceil(range.endMs / 1000),
    });
    const runs = found.map(({ run }) => run);
    if (isApplied) for (const run of runs) await this.decideNext('withdrawn', run);
    return runs;
  }

  /** Removes what runs left behind that are not in force; at most 100 runs a call. */
  async cleanUp(): Promise<void> {
    const useless = async (): Promise<readonly string[]> => {
      const found = await this.session.rows<{ run: string }>(USELESS_RUNS, {
        version: await this.version(),
      });
      return found.map(({ run }) => run);
    };
    if ((await useless()).length === 0) return;
    // What has not been put in force by now never will be.
    await this.decideNext('changed', '');
    const runs = await useless();
    for (const table of runs.length === 0 ? [] : TABLES) {
      const sql = `DELETE FROM ${table} WHERE run IN {runs:Array(String)}`;
      await this.session.run({ name: 'usage.merge_clean_up', sql }, { runs });
    }
  }

  private async version(): Promise<number> {
    const found = await this.one<{ version: string }>({
      name: 'usage.merge_version',
      sql: 'SELECT max(version) AS version FROM rollup_run',
    });
    return Number(found.version);
  }

  /** Decides whatever was decided before. @throws AppError `usage.merge_overtaken` */
  private async decideNext(kind: RunDecision, run: string): Promise<void> {
    for (let tries = 0; tries < MOST_TRIES; tries += 1) {
      if (await this.decide(await this.version(), kind, run)) return;
    }
    throw new AppError({
      code: 'usage.merge_overtaken',
      kind: 'unavailable',
      publicMessage: 'the usage store is being changed by others',
      retryable: true,
    });
  }

  /**
   * Writes the decision that follows a version, unless another has been written.
   * @returns whether it is this one
   * @throws AppError of the engine; then it may be written or not, and follows that version if it is
   */
  private async decide(after: number, kind: RunDecision, run: string): Promise<boolean> {
    for (let version = after + 1; version <= after + MOST_TRIES; version += 1) {
      const token = `rollup_run:${version}`;
      const rows = [{ version, kind, run }];
      await this.session.insert({ name: 'usage.merge_decide', table: 'rollup_run', token, rows });
      const written = (await this.decisionOf(version)) ?? (await this.decisionAfterEnd(version));
      if (written !== null) return written.kind === kind && written.run === run;
      // The token is known and the row is not there: a crash took it, and nobody can write it any more.
    }
    return false;
  }

  /** Looks again when no insert of this version can be under way. */
  private async decisionAfterEnd(version: number): Promise<RunRow | null> {
    await this.session.run(
      { name: 'usage.merge_end', sql: 'KILL QUERY WHERE query_id = {queryId:String} SYNC' },
      { queryId: `rollup_run:${version}` },
    );
    return this.decisionOf(version);
  }

  private async decisionOf(version: number): Promise<RunRow | null> {
    const found = await this.session.rows<RunRow>(
      {
        name: 'usage.merge_decision',
        sql: 'SELECT kind, run FROM rollup_run WHERE version = {version:UInt64} LIMIT 1',
      },
      { version },
    );
    return found[0] ?? null;
  }

  private async one<T>(
    operation: Parameters<ClickHouseSession['rows']>[0],
    params: Parameters<ClickHouseSession['rows']>[1] = {},
  ): Promise<T> {
    const [row] = await this.session.rows<T>(operation, params);
    assert(row !== undefined, 'an aggregate without GROUP BY has one row');
    return row;
  }
}

interface RunRow {
  readonly kind: string;
  readonly run: string;
}

function isSame(a: Sums, b: Sums): boolean {
  return a.row_sum === b.row_sum && a.cost_sum === b.cost_sum && a.charge_sum === b.charge_sum;
}
