/** A run of events of one emitter that has not arrived, both ends inclusive. */
export interface MissingRange {
  readonly emitterId: string;
  readonly lane: number;
  /** Integer text: sequences are unsigned 64 bit. */
  readonly fromSeq: string;
  /** Integer text, inclusive. */
  readonly toSeq: string;
}

/** How far the ledger is complete. */
export interface LedgerProgress {
  /**
   * Every event recorded before this time is visible to figures, and no emitter had a gap then;
   * milliseconds UTC.
   */
  readonly completeThroughMs: number;
  readonly missing: readonly MissingRange[];
}

/** Metering's own account of its progress, for whoever answers with figures. */
export abstract class MeteringProgress {
  abstract progress(): Promise<LedgerProgress>;
}

/** The name under which metering offers `MeteringProgress` to other services. */
export const METERING_PROGRESS_SERVICE = 'metering.progress';

/** The methods of `MeteringProgress`, as offered between services. */
export const METERING_PROGRESS_METHODS = ['progress'] as const;
