import type { PicoUsd } from '#libs/kernel';

/** What is made anew. */
export type RebuildKind = 'rollups' | 'ledger';

/** What one of the two accounts says of an hour or a batch. */
export interface RebuildFigures {
  /** Attempts, or rows. */
  readonly rows: number;
  readonly chargePicoUsd: PicoUsd;
}

/** An hour or a batch that is not what it was made from. */
export interface RebuildDifference {
  /** The hour (RFC 3339), the batch id, or `merge <run>` for sums that differ from their cells. */
  readonly subject: string;
  /**
   * `repaired`: now it is; `reported`: left as it is, because nobody asked for repair; `unreadable`: its
   * records are not in the log as they were planned; `formed_otherwise`: its records now give other
   * rows, which a person has to look into.
   */
  readonly outcome: 'repaired' | 'reported' | 'unreadable' | 'formed_otherwise';
  /** As stored before the rebuild; null when it was not looked at. */
  readonly stored: RebuildFigures | null;
  /** As made anew; null when that was not possible. */
  readonly rebuilt: RebuildFigures | null;
}

/** How far a rebuild is and what it found. */
export interface RebuildReport {
  /** Hours, or batches. */
  readonly total: number;
  readonly done: number;
  /** Cells, or rows, that were made anew. */
  readonly compared: number;
  readonly differing: number;
  readonly repaired: number;
  /** The first 200 differences. */
  readonly differences: readonly RebuildDifference[];
}

/** Differences that a report lists. */
const MOST_LISTED = 200;

/** The report of a rebuild that has not begun. */
export function emptyReport(total: number): RebuildReport {
  return { total, done: 0, compared: 0, differing: 0, repaired: 0, differences: [] };
}

/** A report after one more step. */
export function addStep(
  report: RebuildReport,
  step: {
    readonly done: number;
    readonly compared: number;
    readonly differences: readonly RebuildDifference[];
  },
): RebuildReport {
  const done = report.done + step.done;
  return {
    total: Math.max(report.total, done),
    done,
    compared: report.compared + step.compared,
    differing: report.differing + step.differences.length,
    repaired:
      report.repaired + step.differences.filter(({ outcome }) => outcome === 'repaired').length,
    differences: [...report.differences, ...step.differences].slice(0, MOST_LISTED),
  };
}
