import type { AppError } from '#libs/kernel';
import type { Logger } from '#libs/platform/telemetry';

import type { ProxyLifecycle } from './proxy-lifecycle.js';

/** How long answers in flight get to be ended properly, milliseconds. */
const END_MS = 10_000;

/**
 * Ends the process once its spool is gone, with exit code 1. Nothing is admitted from that moment on;
 * clients in flight get the end of their answer, as an error, because no record of it can be written.
 * The next start records those attempts.
 */
export class SpoolEnd {
  private lifecycle: Pick<ProxyLifecycle, 'endInFlight'> | null = null;

  /** @param exit ends the process */
  constructor(
    private readonly logger: Pick<Logger, 'fatal'>,
    private readonly exit: (code: number) => void,
  ) {}

  /** Names what is in flight; before that there is nothing. */
  watch(lifecycle: Pick<ProxyLifecycle, 'endInFlight'>): void {
    this.lifecycle = lifecycle;
  }

  /** For `SqliteSpoolOptions.onFatal`. */
  readonly onFatal = (error: AppError): void => {
    this.logger.fatal({ reason: error.message }, 'the spool ended; start again to go on');
    void this.end();
  };

  private async end(): Promise<void> {
    await this.lifecycle?.endInFlight(END_MS);
    // What was written to sockets just now leaves in this turn of the event loop.
    setImmediate(() => this.exit(1));
  }
}
