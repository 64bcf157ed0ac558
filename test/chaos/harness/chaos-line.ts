/** One cycle of a run; a line of its file. */
export interface ChaosLine {
  /** From 1, without gaps over all resumptions of a run. */
  readonly cycle: number;
  readonly fault: string;
  readonly variant: string;
  readonly seed: number;
  /** How often the fault was really put in. */
  readonly hits: number;
  /** Failpoints that acted, by name. */
  readonly failpoints: Readonly<Record<string, number>>;
  /** Attempts of the cycle that reached the simulator. */
  readonly attempts: number;
  readonly lost: number;
  readonly doubled: number;
  /** Pico-dollars, as text. */
  readonly imbalance_pusd: string;
  readonly estimated: number;
  readonly overspent: number;
  readonly sequence_faults: number;
  readonly misrated: number;
  readonly rollup_cells_off: number;
  /** From the fault to rest, milliseconds; null = it never came to rest. */
  readonly recovery_ms: number | null;
  /** Answers of 5xx that metering caused, allowed by policy or not. */
  readonly http_5xx: number;
  /** `held`: all invariants; `broken`: at least one not; `not_hit`, `skipped`: the fault was not put in. */
  readonly verdict: 'held' | 'broken' | 'not_hit' | 'skipped';
  /** What was wrong, for people; empty when nothing was. */
  readonly notes: readonly string[];
  readonly took_ms: number;
}
