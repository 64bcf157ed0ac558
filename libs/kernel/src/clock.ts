/** Where time comes from; an argument of every decision, so that tests can move it. */
export abstract class Clock {
  /** Wall time in milliseconds since 1970-01-01T00:00:00Z. Labels only; never decides an order. */
  abstract nowMs(): number;
  /** Milliseconds of a clock that never steps back; deadlines are counted on it. */
  abstract monotonicMs(): number;
}

/** The clocks of the machine. */
export class SystemClock extends Clock {
  nowMs(): number {
    return Date.now();
  }
  monotonicMs(): number {
    return performance.now();
  }
}

/** RFC 3339 in UTC with milliseconds, `2026-11-20T10:00:07.123Z`. */
export function toRfc3339(timeMs: number): string {
  return new Date(timeMs).toISOString();
}
