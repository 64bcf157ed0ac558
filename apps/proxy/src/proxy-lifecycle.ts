import type {
  BeforeApplicationShutdown,
  OnApplicationBootstrap,
  OnApplicationShutdown,
} from '@nestjs/common';

import { backoffMs, delay, type Clock, type Random } from '#libs/kernel';
import type { Logger } from '#libs/platform/telemetry';
import type { UpstreamTransport } from '#libs/providers/core';
import type { SpoolRelay } from '#libs/spool/core';

import type { CatalogueSource } from './admission/catalogue-source.js';
import type { HoldReleaser } from './admission/hold-releaser.js';
import type { InFlight } from './attempt/drains.js';
import { describeError } from './describe-error.js';
import type { RecoverSpool } from './recovery/recover-spool.use-case.js';

/** Pauses between attempts to recover while another service cannot be reached. */
const BACKOFF = { firstMs: 50, mostMs: 2_000 } as const;
/** Longest wait at the end for the records of answers that were broken off, or of recovery, milliseconds. */
const RECORDS_MS = 10_000;
/** Least time to publish what is spooled, however long the answers took, milliseconds. */
const PUBLISH_MS = 5_000;

/** What starts and stops with the proxy. */
export interface ProxyLifecycleParts {
  readonly catalogue: CatalogueSource;
  readonly recovery: RecoverSpool;
  readonly relay: SpoolRelay;
  readonly releaser: HoldReleaser;
  readonly inFlight: InFlight;
  readonly transport: Pick<UpstreamTransport, 'close'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly drainMs: number;
}

/**
 * From start to stop: catalogue and prices, recovery, then admission. Recovery waits for the services
 * it needs, so the order in which processes start does not matter.
 */
export class ProxyLifecycle
  implements OnApplicationBootstrap, BeforeApplicationShutdown, OnApplicationShutdown
{
  private recovered = false;
  private running: Promise<void> | null = null;
  private readonly stopped = new AbortController();
  /** Breaks off what has not ended within the time for draining. */
  private drainTimer: NodeJS.Timeout | undefined;
  private drainedAtMs = 0;

  constructor(private readonly parts: ProxyLifecycleParts) {}

  onApplicationBootstrap(): void {
    this.parts.catalogue.start();
    this.parts.relay.start();
    this.running ??= this.recover();
  }

  /** Whether requests are admitted. */
  isOpen(): boolean {
    return this.recovered && !this.stopped.signal.aborted;
  }

  /** Resolves when requests are admitted, or when the proxy was stopped before. */
  async ready(): Promise<void> {
    await this.running;
  }

  /**
   * Admits nothing more and lets answers in flight end within the time for draining; then their
   * upstreams are cut off, and they end with a record by estimate. The server closes after this,
   * which takes as long as its last answer.
   */
  async beforeApplicationShutdown(): Promise<void> {
    const { transport, clock, drainMs } = this.parts;
    this.stopped.abort();
    // Its records stay pending while the volume is full; the next start does it over.
    if (this.running !== null) await withinMs(RECORDS_MS, this.running);
    this.drainedAtMs = clock.monotonicMs() + drainMs;
    // It may run longer than this method: a request may be on its way to its upstream still.
    this.drainTimer = setTimeout(() => void transport.close(), drainMs);
    await this.endInFlight(drainMs + RECORDS_MS);
  }

  /** Publishes what is spooled, within what is left of the time for draining, and 5 s at least. */
  async onApplicationShutdown(): Promise<void> {
    const { catalogue, relay, releaser, clock } = this.parts;
    clearTimeout(this.drainTimer);
    await releaser.stop();
    await relay.stop(Math.max(PUBLISH_MS, this.drainedAtMs - clock.monotonicMs()));
    await catalogue.stop();
  }

  /** Waits for the answers in flight to end, for so many milliseconds at most. */
  async endInFlight(mostMs: number): Promise<void> {
    await withinMs(mostMs, this.parts.inFlight.idle());
  }

  private async recover(): Promise<void> {
    const { recovery, catalogue, random, logger } = this.parts;
    const { signal } = this.stopped;
    for (let failures = 0; !signal.aborted; failures++) {
      try {
        const prices = catalogue.current()?.prices;
        if (prices !== undefined) {
          const report = await recovery.execute(prices);
          if (Object.values(report).some((count) => count > 0)) logger.warn(report, 'recovered');
          this.recovered = true;
          return;
        }
      } catch (error) {
        logger.warn({ reason: describeError(error) }, 'recovery will be tried again');
      }
      await delay(backoffMs(failures, BACKOFF, random.bytes(1)[0]! / 256), signal);
    }
  }
}

/** Waits for something to end, for so many milliseconds at most. */
async function withinMs(mostMs: number, ended: Promise<void>): Promise<void> {
  const waited = new AbortController();
  await Promise.race([ended, delay(mostMs, waited.signal)]);
  waited.abort();
}
