import type { PicoUsd } from '#libs/kernel';

import type { LedgerTable } from './usage-store.port.js';

/** Whole hours, `[startMs, endMs)`, milliseconds UTC. */
export interface HourRange {
  readonly startMs: number;
  readonly endMs: number;
}

/** What an hour amounts to by one of two accounts. */
export interface HourFigures {
  readonly attempts: number;
  readonly costPicoUsd: PicoUsd;
  readonly chargePicoUsd: PicoUsd;
}

/** An hour whose rollup is not what its rows say; the figures are those of the differing cells. */
export interface HourDifference {
  readonly hourMs: number;
  /** Cells that differ, are missing, or stand for no row. */
  readonly cells: number;
  /** By the rollup. */
  readonly stored: HourFigures;
  /** By the rows. */
  readonly computed: HourFigures;
}

/** A rollup made anew, beside the one in use. */
export interface RollupComparison {
  /** Sealed batches with rows in these hours. */
  readonly batches: number;
  readonly cells: number;
  /** Rows beyond the first of an event id; any is a fault that no rollup can mend. */
  readonly repeatedRows: number;
  /** Ascending by hour; empty when nothing differs. */
  readonly differences: readonly HourDifference[];
  /** Merge runs whose sums are not those of their cells, by name; with `isApplied` they are withdrawn. */
  readonly staleMerges: readonly string[];
}

/** Where a pass over the batches that are not merged stands; opaque to callers. */
export interface MergePlace {
  readonly lastHourMs: number;
  readonly batchId: string;
}

/** What a merge run is to do. */
export interface MergeOrder {
  /** Only batches whose rows all occurred before this hour, milliseconds UTC. */
  readonly beforeMs: number;
  /** Null = from the start. */
  readonly after: MergePlace | null;
  /** Name of the run; never used before, 1 to 60 of a-z, 0-9, _ and -. */
  readonly run: string;
}

/** What a merge run did. */
export interface RollupMerge {
  /** Whether its sums are what figures are read from now; false as well when there was nothing. */
  readonly isInForce: boolean;
  /** Batches in the run. */
  readonly batches: number;
  /** Batches left out because their cells do not amount to their seal. */
  readonly refused: number;
  /** Where the next run of this pass begins; null = nothing is left. */
  readonly next: MergePlace | null;
}

/** A batch whose rows nobody has made visible. */
export interface UnsealedBatch {
  readonly table: LedgerTable;
  readonly batchId: string;
  readonly rows: number;
}

/** What is done to the ledger beside the stream of batches; never in the way of an insert. */
export abstract class LedgerUpkeep {
  /**
   * Makes the rollup of whole hours anew from the rows of sealed batches, beside the one in use, and
   * compares the two cell by cell. With `isApplied` the cells that differ are written over, in one
   * insert: a reader sees the hour before or after. Batches sealed meanwhile are left alone. Then the
   * merge runs of these hours are compared with their cells, and withdrawn where they differ.
   * @param label names the tables beside; unique per call, 1 to 40 of a-z, 0-9 and _
   */
  abstract rebuildRollup(
    range: HourRange,
    isApplied: boolean,
    label: string,
  ): Promise<RollupComparison>;
  /**
   * Sums the cells of sealed batches over the batches, beside those in use, and puts the sums in force
   * in one insert, if they amount to the seals and nobody merged or wrote over cells meanwhile. May be
   * broken off anywhere and called by several processes at once: a batch counts exactly once all along.
   */
  abstract mergeClosed(order: MergeOrder): Promise<RollupMerge>;
  /** First and last hour with rows of sealed batches; null when there is none. */
  abstract hours(): Promise<{ readonly firstHourMs: number; readonly lastHourMs: number } | null>;
  /** Batches without seal recorded in `[startMs, endMs)`. @param most 1 to 1000 */
  abstract unsealed(
    table: LedgerTable,
    range: HourRange,
    most: number,
  ): Promise<readonly UnsealedBatch[]>;
  /**
   * Removes what is of no use any more after a day: tables that rebuilds of dead processes left behind,
   * sums that were never put in force or were withdrawn more than an hour ago.
   */
  abstract cleanUp(): Promise<void>;
  abstract close(): Promise<void>;
}
