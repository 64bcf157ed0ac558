import type { Rebuild } from './rebuild-store.js';
import type { RebuildDifference } from './rebuild-report.js';

/** What an operator asks for; null = as far as it goes. */
export interface AskedRange {
  readonly fromMs: number | null;
  readonly toMs: number | null;
}

/** What will be made anew. */
export interface PlannedRebuild {
  readonly fromMs: number;
  /** After `fromMs`. */
  readonly toMs: number;
  /** Hours, or batches. */
  readonly total: number;
}

/** One step of a rebuild. */
export interface RebuildStep {
  /** Where the next one begins; null = this was the last. */
  readonly next: string | null;
  readonly done: number;
  readonly compared: number;
  readonly differences: readonly RebuildDifference[];
}

/** One way to make something anew, in steps of at most some seconds, each safe to repeat. */
export abstract class RebuildWay {
  /** @throws AppError when the range cannot be made anew */
  abstract plan(asked: AskedRange): Promise<PlannedRebuild>;
  abstract step(rebuild: Rebuild, signal: AbortSignal): Promise<RebuildStep>;
}
