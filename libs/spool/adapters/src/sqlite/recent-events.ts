import type { SpooledEvent } from '#libs/spool/core';

/** Bounds of what is kept in memory; a relay further behind reads the file. */
const MOST_EVENTS = 8_192;
const MOST_BYTES = 8 * 1_048_576;

/**
 * The newest durable events that are not yet published, without gaps, so that a relay that keeps up
 * costs no read of the file.
 */
export class RecentEvents {
  private events: SpooledEvent[] = [];
  /** Index of the first event still kept; the array is cut only now and then. */
  private head = 0;
  private bytes = 0;

  /** Adds the event that follows the last one; the oldest go when there are too many. */
  push(event: SpooledEvent): void {
    this.events.push(event);
    this.bytes += event.body.byteLength;
    while (this.bytes > MOST_BYTES || this.events.length - this.head > MOST_EVENTS) this.shift();
  }

  /** Forgets events up to a position. */
  dropUntil(position: number): void {
    while (this.head < this.events.length && this.events[this.head]!.position <= position) {
      this.shift();
    }
  }

  /**
   * Events behind a position, at least one whatever its size.
   * @returns null when the event that follows the position is not in memory
   */
  behind(position: number, maxEvents: number, maxBytes: number): SpooledEvent[] | null {
    const first = this.events[this.head];
    if (first === undefined || first.position > position + 1) return null;
    const start = this.head + (position + 1 - first.position);
    if (start >= this.events.length) return null;
    let bytes = 0;
    let end = start;
    const last = Math.min(this.events.length, start + maxEvents);
    for (; end < last; end += 1) {
      bytes += this.events[end]!.body.byteLength;
      if (end > start && bytes > maxBytes) break;
    }
    return this.events.slice(start, end);
  }

  private shift(): void {
    this.bytes -= this.events[this.head]!.body.byteLength;
    this.head += 1;
    if (this.head < 1_024 || this.head * 2 < this.events.length) return;
    this.events = this.events.slice(this.head);
    this.head = 0;
  }
}
