import type { Logger } from '#libs/platform/telemetry';
import type { Spool } from '#libs/spool/core';

/** The share of the cap at which an operator is told. */
const ALARM_SHARE = 0.5;
/** The share below which the next alarm is told again. */
const CALM_SHARE = 0.25;

/** Says once, in the log, that unpublished events fill half of what they may. */
export class BacklogAlarm {
  private isTold = false;

  constructor(
    private readonly spool: Pick<Spool, 'depth'>,
    private readonly logger: Pick<Logger, 'error'>,
  ) {}

  /** Called after each publication that failed; cheap. */
  look(): void {
    const { unpublishedBytes, unpublishedEvents, capBytes } = this.spool.depth();
    const share = unpublishedBytes / capBytes;
    if (share < CALM_SHARE) this.isTold = false;
    if (share < ALARM_SHARE || this.isTold) return;
    this.isTold = true;
    this.logger.error(
      { unpublishedEvents, unpublishedBytes, capBytes },
      'the spool is half full: at the cap requests are refused',
    );
  }
}
