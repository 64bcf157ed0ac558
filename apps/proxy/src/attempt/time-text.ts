import { toRfc3339 } from '#libs/kernel';

/** Characters before the milliseconds of `2026-11-20T10:00:07.123Z`. */
const SECONDS_CHARS = 20;

/**
 * `toRfc3339` for the times of a busy stream: the part down to the second is made once per second.
 * One instance per process; not for times before 1970.
 */
export class TimeText {
  private second = -1;
  private prefix = '';

  of(timeMs: number): string {
    const whole = Math.floor(timeMs);
    const second = Math.floor(whole / 1_000);
    if (second !== this.second) {
      this.second = second;
      this.prefix = toRfc3339(second * 1_000).slice(0, SECONDS_CHARS);
    }
    return `${this.prefix}${String(whole - second * 1_000).padStart(3, '0')}Z`;
  }
}
