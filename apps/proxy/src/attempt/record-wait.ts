import type { Spool } from '#libs/spool/core';

/** How long an answer waits when the commit of its record has failed, milliseconds. */
const FAILED_MS = 5_000;
/** How long it waits at most, for a disk that is only slow, milliseconds. */
const MOST_MS = 30_000;
/** Pause between two looks after the first, milliseconds. */
const LOOK_MS = 1_000;

/**
 * Bounds the wait of a client for the record of its answer. The record itself is not given up: the spool
 * keeps it in memory and tries it again every second.
 */
export class RecordWait {
  private timer: NodeJS.Timeout;
  private waitedMs = FAILED_MS;

  /** @param giveUp called once when the client should wait no longer; not after `end` */
  constructor(
    private readonly spool: Pick<Spool, 'health'>,
    private readonly giveUp: () => void,
  ) {
    this.timer = setTimeout(() => this.look(), FAILED_MS);
  }

  /** The record is durable, or will never be. */
  end(): void {
    clearTimeout(this.timer);
  }

  private look(): void {
    const health = this.spool.health();
    const isOnlySlow = health === 'ok' || health === 'stalled' || health === 'backlog_full';
    if (!isOnlySlow || this.waitedMs >= MOST_MS) return this.giveUp();
    this.waitedMs += LOOK_MS;
    this.timer = setTimeout(() => this.look(), LOOK_MS);
  }
}
