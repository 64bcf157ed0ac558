import { AppError, picoUsd, toRfc3339, uuidV4, type Random } from '#libs/kernel';
import type { Database } from '#libs/platform/postgres';

import {
  emptyReport,
  type RebuildFigures,
  type RebuildKind,
  type RebuildReport,
} from './rebuild-report.js';

/** One rebuild, running or over. */
export interface Rebuild {
  readonly rebuildId: string;
  readonly kind: RebuildKind;
  /** Milliseconds UTC, `[fromMs, toMs)`. */
  readonly fromMs: number;
  readonly toMs: number;
  readonly isApplied: boolean;
  readonly state: 'running' | 'done' | 'failed';
  /** Where the next step begins; null before the first. */
  readonly nextStep: string | null;
  readonly report: RebuildReport;
  readonly error: string | null;
  readonly createdMs: number;
  readonly finishedMs: number | null;
}

/** A rebuild that this process works on until the claim runs out. */
export interface ClaimedRebuild {
  readonly rebuild: Rebuild;
  readonly claim: string;
}

interface RebuildRow extends Record<string, unknown> {
  readonly rebuild_id: string;
  readonly kind: RebuildKind;
  readonly from_at: Date;
  readonly to_at: Date;
  readonly is_applied: boolean;
  readonly state: Rebuild['state'];
  readonly next_step: string | null;
  readonly report: RebuildReport;
  readonly error: string | null;
  readonly created_at: Date;
  readonly finished_at: Date | null;
}

/** A process that has not reported for so long is taken for dead, seconds; a step takes far less. */
const CLAIM_SECONDS = 120;

/** Rebuilds in `metering.rebuild`: at most one runs in the deployment, and it outlives its process. */
export class RebuildStore {
  constructor(
    private readonly database: Database,
    private readonly random: Random,
  ) {}

  /** @throws AppError `rebuild.running` (conflict) while another one runs */
  async start(
    asked: Pick<Rebuild, 'kind' | 'fromMs' | 'toMs' | 'isApplied'>,
    total: number,
  ): Promise<Rebuild> {
    const { rows } = await this.database.query<RebuildRow>(
      `INSERT INTO rebuild (rebuild_id, kind, from_at, to_at, is_applied, state, report)
       VALUES ($1, $2, $3, $4, $5, 'running', $6)
       ON CONFLICT ((true)) WHERE state = 'running' DO NOTHING RETURNING *`,
      [
        uuidV4(this.random),
        asked.kind,
        toRfc3339(asked.fromMs),
        toRfc3339(asked.toMs),
        asked.isApplied,
        writeReport(emptyReport(total)),
      ],
    );
    if (rows[0] !== undefined) return fromRow(rows[0]);
    throw new AppError({
      code: 'rebuild.running',
      kind: 'conflict',
      publicMessage: 'a rebuild is running; wait until it is over',
    });
  }

  async find(rebuildId: string): Promise<Rebuild | null> {
    const { rows } = await this.database.query<RebuildRow>(
      'SELECT * FROM rebuild WHERE rebuild_id = $1',
      [rebuildId],
    );
    return rows[0] === undefined ? null : fromRow(rows[0]);
  }

  /** Newest first. */
  async latest(most: number): Promise<readonly Rebuild[]> {
    const { rows } = await this.database.query<RebuildRow>(
      'SELECT * FROM rebuild ORDER BY created_at DESC LIMIT $1',
      [most],
    );
    return rows.map(fromRow);
  }

  /** Takes the running rebuild, if there is one that no living process works on. */
  async claim(): Promise<ClaimedRebuild | null> {
    const { rows } = await this.database.query<RebuildRow & { readonly claim: string }>(
      `UPDATE rebuild SET claimed_until = clock_timestamp() + make_interval(secs => $1)
       WHERE state = 'running' AND coalesce(claimed_until, '-infinity') < clock_timestamp()
       RETURNING *, claimed_until::text AS claim`,
      [CLAIM_SECONDS],
    );
    return rows[0] === undefined ? null : { rebuild: fromRow(rows[0]), claim: rows[0].claim };
  }

  /**
   * Makes a step durable and keeps the claim.
   * @returns null when another process has taken over
   */
  async advance(
    { rebuild, claim }: ClaimedRebuild,
    nextStep: string,
    report: RebuildReport,
  ): Promise<ClaimedRebuild | null> {
    const { rows } = await this.database.query<RebuildRow & { readonly claim: string }>(
      `UPDATE rebuild SET next_step = $3, report = $4,
         claimed_until = clock_timestamp() + make_interval(secs => $5)
       WHERE rebuild_id = $1 AND state = 'running' AND claimed_until = $2::timestamptz
       RETURNING *, claimed_until::text AS claim`,
      [rebuild.rebuildId, claim, nextStep, writeReport(report), CLAIM_SECONDS],
    );
    return rows[0] === undefined ? null : { rebuild: fromRow(rows[0]), claim: rows[0].claim };
  }

  /** Gives the claim back, so that the next process need not wait for its end. */
  async release({ rebuild, claim }: ClaimedRebuild): Promise<void> {
    await this.database.query(
      `UPDATE rebuild SET claimed_until = NULL
       WHERE rebuild_id = $1 AND claimed_until = $2::timestamptz`,
      [rebuild.rebuildId, claim],
    );
  }

  /** @param error null = everything was compared */
  async finish({ rebuild, claim }: ClaimedRebuild, error: string | null): Promise<void> {
    await this.database.query(
      `UPDATE rebuild SET state = $3, error = $4, finished_at = clock_timestamp(),
         claimed_until = NULL
       WHERE rebuild_id = $1 AND state = 'running' AND claimed_until = $2::timestamptz`,
      [rebuild.rebuildId, claim, error === null ? 'done' : 'failed', error],
    );
  }
}

function fromRow(row: RebuildRow): Rebuild {
  return {
    rebuildId: row.rebuild_id,
    kind: row.kind,
    fromMs: row.from_at.getTime(),
    toMs: row.to_at.getTime(),
    isApplied: row.is_applied,
    state: row.state,
    nextStep: row.next_step,
    report: readReport(row.report),
    error: row.error,
    createdMs: row.created_at.getTime(),
    finishedMs: row.finished_at?.getTime() ?? null,
  };
}

/** Money is integer text in JSON. */
function writeReport(report: RebuildReport): string {
  return JSON.stringify(report, (_, value: unknown) =>
    typeof value === 'bigint' ? value.toString() : value,
  );
}

function readReport(stored: RebuildReport): RebuildReport {
  const figures = (one: RebuildFigures | null): RebuildFigures | null =>
    one === null ? null : { rows: one.rows, chargePicoUsd: picoUsd(BigInt(one.chargePicoUsd)) };
  return {
    ...stored,
    differences: stored.differences.map((difference) => ({
      ...difference,
      stored: figures(difference.stored),
      rebuilt: figures(difference.rebuilt),
    })),
  };
}
