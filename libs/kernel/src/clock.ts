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

/** The last second put into words, up to and with the dot; most calls fall into the same one. */
let wordedSecond = Number.NaN;
let secondInWords = '';

/** RFC 3339 in UTC with milliseconds, `2026-11-20T10:00:07.123Z`; a fraction of one is cut off. */
export function toRfc3339(timeMs: number): string {
  const wholeMs = Math.trunc(timeMs);
  const second = Math.floor(wholeMs / 1_000);
  if (second !== wordedSecond) {
    secondInWords = new Date(second * 1_000).toISOString().slice(0, -4);
    wordedSecond = second;
  }
  return `${secondInWords}${String(wholeMs - second * 1_000).padStart(3, '0')}Z`;
}
