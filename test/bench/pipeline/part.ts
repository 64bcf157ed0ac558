import type { Estimate } from '../statistics.js';

/** The figures of the pipeline by their ids. */
export const PIPELINE_PARTS = ['G8', 'G9', 'G10', 'G14', 'G16', 'G17'] as const;

/** One of them. */
export type PipelinePart = (typeof PIPELINE_PARTS)[number];

/** A figure of the pipeline beside its floor. */
export interface PipelineFigure {
  readonly id: string;
  readonly text: string;
  readonly value: Estimate;
  /** What counts as accepted; null = only shown. */
  readonly floor: { readonly limit: number; readonly isUpper: boolean } | null;
}

/** What one part of the bench found. */
export interface PartResult {
  readonly figures: readonly PipelineFigure[];
  /** Everything measured, for the raw result. */
  readonly runs: unknown;
}

/** How a part is run. */
export interface PartOptions {
  readonly rounds: number;
  /** Records of the backlog that is consumed. */
  readonly records: number;
  readonly random: () => number;
  readonly profileDir: string | null;
  readonly say: (line: string) => void;
}

/** A value without rounds. */
export function single(value: number): Estimate {
  return { median: value, low: value, high: value };
}

/** Whether a figure keeps its floor; one without a floor always does. */
export function holds({ value, floor }: PipelineFigure): boolean {
  if (floor === null) return true;
  return floor.isUpper ? value.median <= floor.limit : value.median >= floor.limit;
}
