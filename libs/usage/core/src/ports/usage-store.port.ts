import type { PicoUsd } from '#libs/kernel';

import type { RollupCell } from '../domain/rollup-cell.js';
import type { RejectionRow, UsageRow } from '../usage-row.js';

/** What identifies one insert. */
export interface BatchKey {
  /** 64 hex digits; a column of every row. */
  readonly batchId: string;
  /** The insert's deduplication token: the batch id, with `:rN` from the second try on. */
  readonly token: string;
}

/** What a batch must amount to, in the plan and in the store. */
export interface BatchDigest {
  readonly rows: number;
  readonly costPicoUsd: PicoUsd;
  readonly chargePicoUsd: PicoUsd;
  /** XOR over the first 8 bytes of each event id, little-endian, unsigned 64 bit. */
  readonly xor64: bigint;
}

/** Says that a batch is history: from then on figures count it. */
export interface BatchSeal {
  readonly batchId: string;
  readonly topic: string;
  readonly partition: number;
  /** YYYYMM in which its rows were recorded. */
  readonly month: number;
  /** At least 1: an empty batch has nothing to show. */
  readonly rows: number;
  readonly costPicoUsd: PicoUsd;
  readonly chargePicoUsd: PicoUsd;
  /** Start of the first hour in which one of its rows occurred, milliseconds UTC. */
  readonly firstHourMs: number;
  readonly lastHourMs: number;
}

/** The two tables of the ledger. */
export type LedgerTable = 'usage' | 'rejection';

/** Writes of the ledger. One writer per partition of the log; calls are serialised by the adapter. */
export abstract class UsageStore {
  /**
   * Inserts one block of usage rows in the given order; no rows are no insert. At most 50,000 rows,
   * all recorded in one month (UTC). A token that was used before stores nothing and resolves.
   * After a rejection the rows may be there or not: ask `digestOf` before anything else.
   */
  abstract insertUsage(key: BatchKey, rows: readonly UsageRow[]): Promise<void>;
  /** The same for refusals. */
  abstract insertRejections(key: BatchKey, rows: readonly RejectionRow[]): Promise<void>;
  /**
   * Writes the rollup of a batch for the first time. After a rejection the cells may be there or not:
   * `overwriteCells`.
   * @param month YYYYMM in which the rows of the batch were recorded
   */
  abstract insertCells(key: BatchKey, month: number, cells: readonly RollupCell[]): Promise<void>;
  /**
   * Writes the rollup of a batch over what the store may hold of it, also where a repair wrote a cell
   * or marked it deleted. May be repeated; after a rejection just repeat it under another token.
   * @param key its token was never used before: the store drops what comes under one that was
   * @param month YYYYMM in which the rows of the batch were recorded
   */
  abstract overwriteCells(
    key: BatchKey,
    month: number,
    cells: readonly RollupCell[],
  ): Promise<void>;
  /**
   * Makes batches visible to figures, one insert for all. May be repeated.
   * @param sealedAtMs now, milliseconds UTC
   */
  abstract insertSeals(seals: readonly BatchSeal[], sealedAtMs: number): Promise<void>;
  /**
   * What the store holds of a batch.
   * @param months months of `recordedAt` the batch can lie in, as YYYYMM
   */
  abstract digestOf(
    table: LedgerTable,
    batchId: string,
    months: readonly number[],
  ): Promise<BatchDigest>;
  /**
   * What the store holds of many batches, in one read.
   * @param batchIds at most 1,000
   * @param months of all of them, as YYYYMM
   * @returns by batch id; a batch without rows is absent
   */
  abstract digestsOf(
    table: LedgerTable,
    batchIds: readonly string[],
    months: readonly number[],
  ): Promise<ReadonlyMap<string, BatchDigest>>;
  /** Event ids of a batch that the store holds, to find what is missing. */
  abstract eventIdsOf(
    table: LedgerTable,
    batchId: string,
    months: readonly number[],
  ): Promise<readonly string[]>;
  /**
   * Removes every row of a batch and its rollup; resolves when reads no longer see them. Whoever calls
   * has just asserted that the batch is still in its hands.
   * @throws AppError `clickhouse.busy` when its turn comes more than 5 s late: assert and call again
   */
  abstract deleteBatch(table: LedgerTable, batchId: string): Promise<void>;
  /**
   * Makes sure that no earlier insert under this token is still running anywhere, so that it cannot
   * land after a second try. To be called before the verification of a plan that was interrupted.
   */
  abstract endInsert(key: BatchKey): Promise<void>;
  /** Creates what is missing and checks the settings the sink rests on. @throws AppError `usage.settings` */
  abstract migrate(): Promise<void>;
  /** Resolves while the engine answers. @throws AppError of the engine otherwise */
  abstract ping(): Promise<void>;
  abstract close(): Promise<void>;
}
